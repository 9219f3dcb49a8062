"""welcome-email against a real SMTP server on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import email
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend

import jobs
from jobs.errors import InvalidPayload
from jobs.models import Effect
from tests.handlers.attempts import attempt

pytestmark = pytest.mark.django_db(transaction=True)


class Post:
    """A mail server's behaviour: what it answers to the recipient and to the mail itself."""

    def __init__(self) -> None:
        self.to_recipient = "250 OK"
        self.to_data: str | None = "250 OK"
        self.mails: list[Message] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.to_data is None:  # the mail was taken, but the answer is lost
            self.mails.append(email.message_from_bytes(envelope.content or b""))  # type: ignore[arg-type]
            assert server.transport is not None
            server.transport.abort()
            await asyncio.sleep(0)
            return "250 never sent"
        if self.to_data.startswith("250"):
            self.mails.append(email.message_from_bytes(envelope.content or b""))  # type: ignore[arg-type]
        return self.to_data


@pytest.fixture
def post(settings: Any) -> Iterator[Post]:
    behaviour = Post()
    controller = Controller(behaviour, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = controller.hostname, controller.port
    settings.DEFAULT_FROM_EMAIL = "Jobs <jobs@example.org>"
    yield behaviour
    controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def submit() -> Any:
    return jobs.submit("welcome-email", {"email": "ada@example.com", "name": "Ada", "message": "Grüße"}).id


def test_a_mail_is_really_sent_once_under_the_effects_key(post: Post) -> None:
    job = attempt(submit())
    assert (job.status, job.result) == ("succeeded", {"sent": True})
    (mail,) = post.mails
    effect = Effect.objects.get()
    assert (mail["To"], mail["Subject"]) == ("ada@example.com", "Welcome, Ada!")
    assert mail["Message-ID"] == f"<{effect.key}@example.org>"
    assert (mail.get_payload(decode=True) or b"").decode().strip() == "Grüße"  # type: ignore[union-attr]
    assert effect.status == "done"


@pytest.mark.parametrize("answer", ["to_recipient", "to_data"])
def test_a_passing_rejection_is_not_done_and_tried_again(post: Post, answer: str) -> None:
    setattr(post, answer, "451 come back later")
    job = attempt(submit())
    assert (job.status, job.failures) == ("scheduled", 1)
    assert Effect.objects.get().status == "not_done"
    setattr(post, answer, "250 OK")
    assert attempt(job.id).status == "succeeded"
    assert len(post.mails) == 1


@pytest.mark.parametrize("answer", ["to_recipient", "to_data"])
def test_a_final_rejection_fails_at_once(post: Post, answer: str) -> None:
    setattr(post, answer, "550 no such user")
    job = attempt(submit())
    assert (job.status, job.error_code) == ("failed", "mail-rejected")
    assert Effect.objects.get().status == "not_done"
    assert post.mails == []


def test_a_server_that_is_away_is_not_done_and_tried_again(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    job = attempt(submit())
    assert job.status == "scheduled"
    assert Effect.objects.get().status == "not_done"


def test_a_mail_whose_answer_was_lost_is_not_sent_again(post: Post) -> None:
    post.to_data = None
    job = attempt(submit())
    assert job.status == "scheduled"
    assert Effect.objects.get().status == "in_doubt"
    post.to_data = "250 OK"
    assert attempt(job.id).status == "succeeded"
    assert len(post.mails) == 1
    effect = Effect.objects.get()
    assert (effect.status, effect.settled_by) == ("done", "policy")


class Rude:
    """A mail server that ends the connection at a step, without a word or with a reply that is its own."""

    REPLIES = {b"EHLO": b"250 OK", b"MAIL": b"250 OK", b"RCPT": b"250 OK", b"DATA": b"354 go on", b".": b"250 OK"}

    def __init__(self, step: bytes, reply: bytes | None) -> None:
        self.step, self.reply, self.taken = step, reply, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as file, contextlib.suppress(OSError):
                self.talk(file)

    def talk(self, file: Any) -> None:
        def say(step: bytes) -> bool:
            reply = self.reply if step == self.step else self.REPLIES.get(step, b"250 OK")
            if step == b".":
                self.taken += 1
            if reply is not None:
                file.write(reply + b"\r\n")
                file.flush()
            return reply is not None

        file.write(b"220 hello\r\n")
        file.flush()
        while line := file.readline():
            step = line.strip()[:4].upper()
            if not say(step):
                return
            if step == b"DATA":
                while file.readline() not in (b".\r\n", b""):
                    pass
                if not say(b"."):
                    return


@pytest.mark.parametrize("step", [b"MAIL", b"RCPT", b"DATA"])
def test_a_connection_that_is_lost_before_the_mail_is_handed_over_is_not_done(step: bytes, settings: Any) -> None:
    server = Rude(step, None)
    use_smtp(settings, server.listener.getsockname()[1])
    job = jobs.submit("welcome-email", {"email": "ada@example.com", "name": "Ada", "message": "x" * 20_000})
    assert attempt(job.id).status == "scheduled"
    assert (Effect.objects.get().status, server.taken) == ("not_done", 0)
    server.step = b"none"
    assert attempt(job.id).result == {"sent": True}
    assert server.taken == 1
    server.listener.close()


@pytest.mark.parametrize("reply", [None, b"251 taken in other words", b"what", b"999 what"])
def test_after_the_final_dot_only_a_rejection_proves_anything(reply: bytes | None, settings: Any) -> None:
    server = Rude(b".", reply)
    use_smtp(settings, server.listener.getsockname()[1])
    job = attempt(submit())
    assert (job.status, Effect.objects.get().status) == ("scheduled", "in_doubt")
    assert attempt(job.id).result == {"sent": None}
    assert server.taken == 1
    server.listener.close()


def use_smtp(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port


class Silent(EmailBackend):
    """Fails silently, whatever it was told."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "fail_silently": True})


class Lazy(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        return 0


class Misconfigured(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        raise ImproperlyConfigured("no account")


class Full(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        with open("/dev/full", "w") as file:
            file.write("x")
        return 1


class Unfinished(BaseEmailBackend):
    """Not even that."""


@pytest.mark.parametrize("backend", [Silent, Lazy, Misconfigured, Full, Unfinished])
def test_what_no_backend_took_is_tried_again(backend: type, settings: Any) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.{backend.__name__}"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    job = attempt(submit())
    assert (job.status, job.result, Effect.objects.get().status) == ("scheduled", None, "not_done")


class Mute(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        return None  # type: ignore[return-value]


class Broken(BaseEmailBackend):
    def send_messages(self, email_messages: Any) -> int:
        raise RuntimeError("before or after it was sent?")


@pytest.mark.parametrize("backend", [Mute, Broken])
def test_what_a_backend_does_not_tell_is_in_doubt_and_never_called_sent(backend: type, settings: Any) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.{backend.__name__}"
    job = attempt(submit())
    assert Effect.objects.get().status == "in_doubt"
    job = attempt(job.id)
    assert (job.status, job.result) == ("succeeded", {"sent": None})


@pytest.mark.parametrize("backend", ["jobsite.mail.OutboxBackend", "django.core.mail.backends.filebased.EmailBackend"])
def test_an_outbox_that_cannot_be_written_is_tried_again(backend: str, tmp_path: Path, settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = backend, str(tmp_path / "outbox")
    (tmp_path / "outbox").write_text("a file")
    job = attempt(submit())
    assert (job.status, Effect.objects.get().status) == ("scheduled", "not_done")
    (tmp_path / "outbox").unlink()
    assert attempt(job.id).result == {"sent": True}
    assert len(list((tmp_path / "outbox").iterdir())) == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"email": "nobody", "name": "Ada"},
        {"email": "ada@example.com", "name": ""},
        {"email": "ada@example.com", "name": "Ada\nBcc: eve@example.com"},
        {"email": "ada@example.com", "name": "Ada", "mesage": "misspelt"},
    ],
)
def test_a_payload_that_makes_no_mail_is_refused(payload: dict[str, str]) -> None:
    with pytest.raises(InvalidPayload):
        jobs.submit("welcome-email", payload)
