"""Clients that speak HTTP badly, slowly or without end, on raw sockets: refused by the book, and nobody else waits."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from jobs.models import IdempotencyKey, Job
from jobsite import threads
from tests.support.eventually import eventually

LIMITS = {"SERVE_HEAD_TIMEOUT_S": "1", "SERVE_BODY_TIMEOUT_S": "1", "SERVE_HEAD_MAX_BYTES": "4096"}
BODY = b'{"type": "echo", "payload": {"value": 1}, "idempotencyKey": "hostile"}'

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Answer:
    status: int
    headers: list[str]
    body: bytes

    @property
    def code(self) -> str:
        found: str = json.loads(self.body)["code"]
        return found


class Client:
    """A socket to the server of `world`; every byte is the test's."""

    def __init__(self, world) -> None:
        where = urlsplit(world.url)
        self.key = world.api_key
        self.socket = socket.create_connection((where.hostname, where.port), timeout=20)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def post(self, *lines: str, body: bytes = b"", end: bytes = b"\r\n\r\n") -> Client:
        head = ["POST /api/jobs HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}"]
        head += ["Content-Type: application/json", *lines]
        return self.send("\r\n".join(head).encode() + end + body)

    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def trickle(self, data: bytes) -> Client:
        """Go on sending, byte by byte, until the server hangs up."""
        self.socket.settimeout(0.05)
        for byte in data * 1000:
            try:
                self.socket.sendall(bytes([byte]))
                self.socket.recv(1, socket.MSG_PEEK)
                break  # an answer, or the end
            except TimeoutError:
                pass
        self.socket.settimeout(20)
        return self

    def is_live(self) -> bool:
        """One answer of the liveness probe, on a connection that stays."""
        self.send(LIVE)
        found = b""
        while not found.endswith(b"}"):
            found += self.socket.recv(65_536)
        return found.startswith(b"HTTP/1.1 200 ")

    def read(self) -> bytes:
        """All that comes until the server hangs up."""
        return b"".join(iter(lambda: self.socket.recv(65_536), b""))

    def answer(self) -> Answer:
        head, _, body = self.read().partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        return Answer(int(first.split()[1]), headers, body)


@pytest.fixture
def hostile(world):
    """Makes clients of one server with short limits; after the test it still serves, and stored nothing."""
    server = world.serve(**LIMITS)
    yield lambda: Client(world)
    assert world.call("GET", "/health/live").status == 200
    assert "Traceback" not in server.log
    assert not Job.objects.exists()
    assert not IdempotencyKey.objects.exists()


def refused(client: Client, status: int, code: str) -> None:
    answer = client.answer()
    assert (answer.status, answer.code) == (status, code)
    assert "connection: close" in answer.headers
    assert "content-type: application/problem+json" in answer.headers
    number = json.loads(answer.body)["requestId"]
    assert f"x-request-id: {number}" in answer.headers


# --- slow ------------------------------------------------------------------------------------------------


def test_headers_that_trickle_in_are_cut_off(hostile):
    with hostile() as client:
        refused(client.post("X-Slow: ", end=b"").trickle(b"a"), 408, "too-slow")


def test_headers_that_stop_are_cut_off(hostile):
    with hostile() as client:
        refused(client.post(end=b"\r\n"), 408, "too-slow")


@pytest.mark.parametrize("length", ["Content-Length: 5000", "Transfer-Encoding: chunked"])
def test_a_body_that_trickles_in_is_cut_off(hostile, length):
    with hostile() as client:
        refused(client.post(length).trickle(b"1\r\nx\r\n"), 408, "too-slow")


def test_a_body_that_stops_is_cut_off(hostile):
    with hostile() as client:
        refused(client.post(f"Content-Length: {len(BODY)}", body=BODY[:-1]), 408, "too-slow")


def test_chunks_without_end_are_cut_off(hostile):
    chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n"
    with hostile() as client:
        refused(client.post("Transfer-Encoding: chunked", body=chunk), 408, "too-slow")


def test_a_body_for_the_admin_that_stops_holds_no_thread(hostile, world):
    lines = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123"
    slow = [hostile().send(lines) for _ in range(threads.THREADS * 4)]
    began = time.monotonic()
    assert world.call("GET", "/admin/login/").status == 200
    took_s = time.monotonic() - began
    for client in slow:
        with client:
            refused(client, 408, "too-slow")
    assert took_s < float(LIMITS["SERVE_BODY_TIMEOUT_S"]), "it waited for the slow ones"


def test_a_connection_without_a_word_is_closed_without_one(hostile):
    with hostile() as client:
        assert client.read() == b""


def test_blank_lines_between_requests_keep_no_connection_open(hostile):
    with hostile() as client:
        assert client.is_live()
        assert client.trickle(b"\r\n").read() == b""


def test_a_slow_client_that_is_served_may_take_its_time_between_requests(hostile):
    with hostile() as client:
        assert client.is_live()
        time.sleep(1.5)  # longer than any limit on a request
        assert client.is_live()


def test_a_refused_client_that_goes_on_sending_is_hung_up_on(hostile):
    with hostile() as client:
        client.send(b"NO HTTP\r\n\r\n")
        assert client.read().startswith(b"HTTP/1.1 400 ")

        def is_closed() -> bool:
            try:
                client.send(b"x" * 1000)
            except OSError:
                return True
            return False

        eventually(is_closed, timeout_s=10)


# --- too large, or cut ---------------------------------------------------------------------------------------


def test_a_head_that_is_too_large_is_refused(hostile):
    one_header = b"GET /health/live HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n"
    many_headers = b"GET /health/live HTTP/1.1\r\n" + b"X: aaaaaaaaa\r\n" * 500 + b"\r\n"
    long_path = b"GET /health/live?" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n"
    for head in (one_header, many_headers, long_path):
        with hostile() as client:
            refused(client.send(head), 431, "head-too-large")


def test_a_header_without_end_is_refused_while_it_comes(hostile):
    with hostile() as client:
        client.send(b"GET /health/live HTTP/1.1\r\nX: ")
        for _ in range(10):
            client.send(b"a" * 1000)
            time.sleep(0.01)  # pieces of their own
        refused(client, 431, "head-too-large")


@pytest.mark.parametrize("length", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_refused(hostile, length):
    body = b"%x\r\n" % 300_000 + b" " * 300_000 + b"\r\n0\r\n\r\n" if "chunked" in length else b" " * 300_000
    with hostile() as client:
        answer = client.post(length, "Connection: close", body=body).answer()
        assert (answer.status, answer.code) == (413, "too-large")


@pytest.mark.parametrize("length", [f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"])
def test_a_body_that_is_cut_stores_nothing(hostile, length):
    cut = f"{len(BODY):x}\r\n".encode() + BODY if "chunked" in length else BODY[:-1]
    with hostile() as client:
        client.post(length, body=cut).socket.shutdown(socket.SHUT_WR)
        refused(client, 400, "malformed")


def test_a_client_that_leaves_in_the_middle_stores_nothing(hostile, world):
    def sockets() -> int:
        found = os.listdir(f"/proc/{world.processes[-1].pid}/fd")
        return len(found)

    before = sockets()
    for _ in range(20):
        with hostile() as client:
            client.post(f"Content-Length: {len(BODY)}", body=BODY[:-1])
    eventually(lambda: sockets() <= before + 1, timeout_s=0.9)


# --- two meanings ----------------------------------------------------------------------------------------------


TWO_MEANINGS = [
    (f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}"),
    (f"Content-Length: {len(BODY)}", "Content-Length: 5"),
    (f"Content-Length: {len(BODY)}, {len(BODY)}",),
    (f"Content-Length: +{len(BODY)}",),
    ("Content-Length: -1",),
    ("Content-Length: 99999999999999999999",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding: xchunked",),
    (f"Content-Length : {len(BODY)}",),
    ("X: a\x00b", f"Content-Length: {len(BODY)}"),
    ("X: a\n folded", f"Content-Length: {len(BODY)}"),
    ("no colon", f"Content-Length: {len(BODY)}"),
]


def test_what_two_servers_could_read_in_two_ways_is_refused(hostile):
    for lines in TWO_MEANINGS:
        with hostile() as client:
            refused(client.post(*lines, body=BODY), 400, "malformed")


def test_chunks_that_are_none_are_refused(hostile):
    for chunk in (b"zz\r\n", b"-1\r\n", b"46\r\n" + BODY + b"XX"):
        with hostile() as client:
            refused(client.post("Transfer-Encoding: chunked", body=chunk), 400, "malformed")


def test_two_headers_with_a_key_are_refused(hostile):
    body = b'{"type": "echo"}'
    for second in ("other", "one"):
        lines = ["Idempotency-Key: one", f"idempotency-key: {second}", f"Content-Length: {len(body)}"]
        with hostile() as client:
            answer = client.post(*lines, body=body).answer()
        assert (answer.status, answer.code) == (400, "malformed")
        (error,) = json.loads(answer.body)["errors"]
        assert error["code"] == "bad-key"
        assert "Idempotency-Key" in error["detail"]


def test_the_answer_to_a_good_request_comes_before_the_end_of_a_bad_one_behind_it(hostile):
    with hostile() as client:
        client.send(b"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\n\r\nNO HTTP\r\n\r\n")
        answer = client.answer()
        assert answer.status == 200
        assert "connection: close" in answer.headers
        assert answer.body.rstrip().endswith(b"</html>")


# --- what Django itself would fail on ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/admin", "/admin/jobs/job", "//admin"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_method_makes_a_path_without_its_slash_an_error_of_ours(client, settings, method, path):
    settings.DEBUG = True
    assert client.generic(method, path).status_code in (301, 302, 403, 404, 405)


def test_who_looks_is_led_to_the_path_with_its_slash(client):
    reply = client.get("/admin")
    assert (reply.status_code, reply.headers["Location"]) == (301, "/admin/")
