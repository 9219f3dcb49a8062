"""The web server: a fixed number of threads with their connections, a warm stop, a plain word when it cannot start."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from jobsite import threads
from tests.support import http
from tests.support.eventually import eventually


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_many_requests_leave_no_threads_and_no_connections_behind(world):
    server = world.serve()
    paths = ["/admin/login/", "/health/live", "/static/admin/css/base.css"] * 40

    def get(path: str) -> int:
        return world.call("GET", path).status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(get, paths)) == {200}
        before = descriptors(server.pid)
        assert set(pool.map(get, paths * 3)) == {200}
    eventually(lambda: descriptors(server.pid) <= before + 4)  # the last connections may still be closing
    tasks = len(list(Path(f"/proc/{server.pid}/task").iterdir()))
    assert tasks <= threads.THREADS + 8


def test_it_stops_at_once_when_nothing_is_in_flight(world):
    server = world.serve()
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 3


def test_a_port_that_is_taken_is_one_sentence(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, output = world.run("serve", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "--port" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_one_sentence(world, port):
    code, output = world.run("serve", "--port", port)
    assert code == 1
    assert "--port" in output
    assert "Traceback" not in output


def test_what_is_no_http_gets_a_problem_document(world):
    world.serve()
    where = urlsplit(world.url)
    with socket.create_connection((where.hostname, where.port), timeout=5) as client:
        client.sendall(b"POST /api/jobs HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
        head, _, body = b"".join(iter(lambda: client.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == "malformed"


def test_every_page_forbids_inline_scripts_and_styles(world):
    world.serve()
    policy = world.call("GET", "/admin/login/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy


def test_the_root_leads_to_the_admin(world):
    world.serve()
    reply = world.call("GET", "/")
    assert (reply.status, reply.headers["location"]) == (302, "/admin/")


@pytest.mark.parametrize("sent", ["/tür/queue", ""], ids=["left on by the proxy", "taken off"])
def test_below_a_prefix_every_address_has_it(world, sent):
    world.serve(FORCE_SCRIPT_NAME="/tür/queue")
    prefix = "/t%C3%BCr/queue"
    sent = quote(sent)
    for _ in range(2):  # the second one by a head that is known
        reply = world.call("POST", f"{sent}/api/jobs", {"type": "echo"})
        assert reply.headers["location"] == f"{prefix}/api/jobs/{reply.json()['id']}/status"
    assert (
        world.call("GET", sent + reply.headers["location"].removeprefix(prefix)).json()["links"]
        == reply.json()["links"]
    )
    assert world.call("GET", f"{sent}/").headers["location"] == f"{prefix}/admin/"
    page = world.call("GET", f"{sent}/admin/login/", headers={"Accept": "text/html"}).body.decode()
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert styles
    for style in styles:
        assert style.startswith(f"{prefix}/static/")
        assert world.call("GET", sent + style.removeprefix(prefix)).status == 200
    assert world.call("GET", f"{sent}/api/nothing").json()["code"] == "not-found"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("0.0.0.0", r"http://127\.0\.0\.1:(\d+) \(listening on 0\.0\.0\.0:"),
        ("::", r"http://\[::1\]:(\d+) \(listening on \[::\]:"),
        ("[::1]", r"http://\[::1\]:(\d+) "),
        ("localhost", r"http://localhost:(\d+)\s"),
    ],
)
def test_the_greeting_is_an_address_that_works(world, host, words):
    process = world.manage("serve", "--host", host, "--port", "0", ALLOWED_HOSTS="localhost 127.0.0.1 [::1]")
    found = eventually(lambda: re.search(words, process.log), timeout_s=30)
    url = re.search(r"http://\S+", process.log)[0]
    assert int(found[1]) > 0
    assert eventually(lambda: http.call(url, "GET", "/health/live").status == 200, timeout_s=20)


def test_the_greeting_names_a_host_that_is_not_allowed(world):
    process = world.manage("serve", "--port", "0", ALLOWED_HOSTS="jobs.example.com")
    process.says("ALLOWED_HOSTS has jobs.example.com: a request for 127.0.0.1 is answered 400", timeout_s=30)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1", "a" * 80, "/tmp/a.sock"])
def test_a_host_that_is_not_this_machine_is_one_sentence(world, host):
    code, output = world.run("serve", "--host", host, "--port", "0")
    assert code == 1
    assert "--host" in output
    assert "Traceback" not in output


def ask(
    application: threads.ThreadedApp, scope: dict[str, object], *chunks: bytes
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request through the ASGI callable."""
    incoming = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks or (b"",))
    ]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return incoming.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    whole = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "http_version": "1.1", "headers": []}
    asyncio.run(application({**whole, **scope}, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response(
        "201 Created", [("X-Cookie", environ.get("HTTP_COOKIE", "")), ("X-Length", environ["CONTENT_LENGTH"])]
    )
    return [threading.current_thread().name.encode()[:6], b" ", str(len(body)).encode()]


def test_a_request_in_pieces_arrives_whole():
    status, _, body = ask(threads.ThreadedApp(echo), {}, b"a" * 10, b"b" * 5)
    assert (status, body) == (201, b"django 15")


def test_cookies_in_two_headers_are_one():
    _, headers, _ = ask(threads.ThreadedApp(echo), {"headers": [(b"cookie", b"a=1"), (b"cookie", b"b=2")]})
    assert headers[b"x-cookie"] == b"a=1; b=2"


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_dash():
    _, headers, _ = ask(threads.ThreadedApp(echo), {"headers": [(b"c_o", b"x"), (b"cookie_", b"evil")]})
    assert headers[b"x-cookie"] == b""


def test_what_is_longer_than_any_request_is_cut_but_keeps_its_stated_length():
    stated = str(threads.BODY_MAX_BYTES * 4).encode()
    chunk = b"x" * (threads.BODY_MAX_BYTES // 2 + 1)
    _, headers, body = ask(threads.ThreadedApp(echo), {"headers": [(b"content-length", stated)]}, *[chunk] * 8)
    assert headers[b"x-length"] == stated
    assert int(body.split()[1]) <= threads.BODY_MAX_BYTES + len(chunk)
