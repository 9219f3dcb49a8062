"""What proves that nothing was accepted: real clients against real servers that take the first try, or none."""

from __future__ import annotations

import asyncio
import http.client
import smtplib
import socket
import ssl
import struct
import threading
import types
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.core import mail

from jobs.context import JobContext
from jobs.models import Effect
from tests.chaos import certificates
from tests.records.conftest import Register
from tests.support import lives

pytestmark = pytest.mark.django_db(transaction=True)


class OneTry:
    """A server that reads one request, does as it is told, and is gone: the next connection is refused."""

    def __init__(self, answer: bytes | None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer = answer
        self.got: list[bytes] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            self.got.append(connection.recv(4096))
            if self._answer is None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.sendall(self._answer.replace(b"PORT", str(self.port).encode()))


@contextmanager
def one_try(answer: bytes | None = None) -> Iterator[OneTry]:
    server = OneTry(answer)
    yield server
    server.thread.join()


REDIRECT = (
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:PORT/next\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


def by_urllib3(port: int) -> None:
    urllib3 = pytest.importorskip("urllib3")
    urllib3.PoolManager().request("PUT", f"http://127.0.0.1:{port}/", body=b"{}")


def by_urllib(port: int) -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/", data=b"{}", timeout=5)  # follows the redirect


def by_xmlrpc(port: int) -> None:
    xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/").charge(
        7
    )  # tries twice, and raises what the second one raised


def in_except(port: int) -> None:
    try:
        by_http_client(port)
    except OSError:
        by_http_client(port)


def by_a_library(port: int) -> None:
    """A client of somebody else's that tries again, and lets the last error through."""
    library = types.ModuleType("somebody_elses_client")
    exec(
        "def call(function, argument):\n"
        "    for number in range(2):\n"
        "        try: return function(argument)\n"
        "        except OSError as error: last = error\n"
        "    last.__context__ = None\n"
        "    raise last\n",
        library.__dict__,
    )
    library.call(by_http_client, port)


def by_http_client(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/", b"{}")
        connection.getresponse()
    finally:
        connection.close()


CLIENTS: dict[Callable[[int], None], bytes | None] = {
    by_urllib3: None,
    by_urllib: REDIRECT,
    by_xmlrpc: None,
    in_except: None,
    by_a_library: None,
}


def status_after(register: Register, act: Callable[[], object]) -> str:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("charge"):
            act()

    job = lives.attempt(lives.submit(register(work)))
    return Effect.objects.get(job_id=job.pk).status


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_try_that_was_accepted_before_the_refused_one_is_not_forgotten(
    client: Callable[[int], None], register: Register
) -> None:
    with one_try(CLIENTS[client]) as server:
        assert status_after(register, lambda: client(server.port)) == "in_doubt"
    assert len(server.got) == 1


def refused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def by_socket(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5)


def by_some_addresses(port: int) -> None:
    socket.create_connection(("localhost", port), timeout=5)  # ::1, then 127.0.0.1: none of them took anything


def by_smtplib(port: int) -> None:
    smtplib.SMTP("127.0.0.1", port, timeout=5)


def by_djangos_mail(port: int) -> None:
    backend = mail.get_connection("django.core.mail.backends.smtp.EmailBackend", host="127.0.0.1", port=port)
    mail.EmailMessage("x", "x", "a@example.org", ["b@example.org"], connection=backend).send()


@pytest.mark.parametrize("client", [by_socket, by_some_addresses, by_http_client, by_smtplib, by_djangos_mail])
def test_a_refused_connection_of_the_only_try_is_a_proof(client: Callable[[int], None], register: Register) -> None:
    assert status_after(register, lambda: client(refused_port())) == "not_done"


def test_a_name_that_is_not_known_is_a_proof(register: Register) -> None:
    connection = http.client.HTTPConnection("nobody.invalid", 80, timeout=5)
    assert status_after(register, lambda: connection.request("POST", "/", b"{}")) == "not_done"


def test_a_refused_connection_of_an_async_handler_is_a_proof(register: Register) -> None:
    async def work(job: JobContext, payload: Any) -> None:
        with job.effect("charge"):
            await asyncio.open_connection("127.0.0.1", refused_port())

    job = lives.attempt(lives.submit(register(work)))
    assert Effect.objects.get(job_id=job.pk).status == "not_done"


def test_an_own_list_is_the_handlers_word(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("charge", not_done_on=[ConnectionRefusedError]):
            by_a_library(refused_port())

    job = lives.attempt(lives.submit(register(work)))
    assert Effect.objects.get(job_id=job.pk).status == "not_done"


def test_what_proves_of_the_inner_effect_proves_nothing_of_the_outer_one(register: Register) -> None:
    def work(job: JobContext, payload: Any) -> None:
        with job.effect("outer"), job.effect("inner"):
            by_http_client(refused_port())

    job = lives.attempt(lives.submit(register(work)))
    statuses = dict(Effect.objects.filter(job_id=job.pk).values_list("name", "status"))
    assert statuses == {"outer": "in_doubt", "inner": "not_done"}


class Post:
    """A mail server that takes the first mail and rejects what follows."""

    def __init__(self) -> None:
        self.taken = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.taken += 1
        return "250 OK" if self.taken == 1 else "550 enough"


def test_a_rejected_mail_after_an_accepted_one_of_the_same_list_is_no_proof(register: Register) -> None:
    post = Post()
    controller = Controller(post, hostname="127.0.0.1", port=refused_port())
    controller.start()
    backend = mail.get_connection(
        "django.core.mail.backends.smtp.EmailBackend", host=controller.hostname, port=controller.port
    )
    mails = [mail.EmailMessage("x", "x", "a@example.org", ["b@example.org"]) for _ in range(2)]
    try:
        assert status_after(register, lambda: backend.send_messages(mails)) == "in_doubt"
        assert status_after(register, lambda: backend.send_messages(mails[:1])) == "not_done"
    finally:
        controller.stop()


@pytest.mark.skipif(certificates.OPENSSL is None, reason="there is no openssl to make a certificate with")
def test_a_certificate_that_is_refused_is_a_proof(register: Register, tmp_path: Any) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made = certificates.make(tmp_path)
    server_side.load_cert_chain(made / "server.crt", made / "server.key")

    def serve() -> None:
        connection, _ = server.accept()
        try:
            server_side.wrap_socket(connection, server_side=True)
        except OSError:
            pass
        finally:
            connection.close()
            server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    connection = http.client.HTTPSConnection("127.0.0.1", server.getsockname()[1], timeout=5)
    assert status_after(register, lambda: connection.request("POST", "/", b"{}")) == "not_done"
    thread.join()
