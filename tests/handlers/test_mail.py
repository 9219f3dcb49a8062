"""welcome-email against a real SMTP server on the loopback."""

from __future__ import annotations

import asyncio
import email
import socket
from collections.abc import Iterator
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

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
