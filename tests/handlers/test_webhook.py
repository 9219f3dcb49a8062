"""webhook against a real HTTP server on the loopback, and the guard around our own network."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import jobs
from jobs.errors import InvalidPayload
from jobs.handlers import outbound, webhook
from jobs.models import Effect, Event, Job
from tests.handlers.attempts import attempt

pytestmark = pytest.mark.django_db(transaction=True)


class Receiver(HTTPServer):
    """Answers with `status` and `extra` headers, and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = 204
        self.extra: dict[str, str] = {}
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?x=1"


class _Answers(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.JOBS_WEBHOOK_ALLOW_PRIVATE = True
    settings.JOBS_WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"top secret").decode()
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def submit(url: str) -> Any:
    return jobs.submit("webhook", {"url": url, "event": "job.succeeded", "job": {"id": "1"}}).id


def test_a_callback_is_signed_by_the_standard(receiver: Receiver) -> None:
    job = attempt(submit(receiver.url))
    assert (job.status, job.result) == ("succeeded", {"status": 204})
    ((headers, body),) = receiver.got
    assert headers["webhook-id"] == Effect.objects.get().key
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"top secret", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(body)["type"] == "job.succeeded"
    assert json.loads(body)["data"] == {"id": "1"}


def test_a_finished_job_calls_back_with_its_status_document(receiver: Receiver) -> None:
    job = attempt(jobs.submit("echo", {"value": 7}, callback_url=receiver.url).id)
    callback = Job.objects.get(type="webhook")
    assert (callback.client, callback.source) == ("system:callback", "callback")
    assert attempt(callback.id).status == "succeeded"
    ((_, body),) = receiver.got
    told = json.loads(body)
    assert told["type"] == "job.succeeded"
    assert told["data"]["links"]["status"] == f"/api/jobs/{job.id}/status"
    assert "links" not in callback.payload["job"]  # a worker that ends a job knows of no mount
    assert (told["data"]["id"], told["data"]["result"]) == (str(job.id), {"value": 7, "attempt": 1})


def test_a_repeated_delivery_keeps_its_id_and_its_body(receiver: Receiver) -> None:
    receiver.status = 500
    job = attempt(submit(receiver.url))
    assert job.status == "scheduled"
    receiver.status = 200
    assert attempt(job.id).status == "succeeded"
    (first, first_body), (second, second_body) = receiver.got
    assert first["webhook-id"] == second["webhook-id"]
    assert first_body == second_body


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for localhost; certificate and key in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", path.with_suffix(".key"), "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".key").read_bytes())
    return path


def test_tls_is_spoken_for_the_name_and_a_certificate_of_nobody_is_refused(
    receiver: Receiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    url = f"https://localhost:{receiver.server_port}/"
    job = attempt(submit(url))
    assert (job.status, job.error_code) == ("scheduled", "SSLCertVerificationError")
    assert Effect.objects.get().status == "not_done"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert attempt(job.id).status == "succeeded"
    ((headers, _),) = receiver.got
    assert headers["host"] == f"localhost:{receiver.server_port}"


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_refusal_for_good_fails_at_once(receiver: Receiver, status: int) -> None:
    receiver.status = status
    job = attempt(submit(receiver.url))
    assert (job.status, job.error_code) == ("failed", "callback-refused")


@pytest.mark.parametrize("status", [302, 408, 425, 429, 503])
def test_a_passing_refusal_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.status = status
    receiver.extra = {"Location": receiver.url}
    assert attempt(submit(receiver.url)).status == "scheduled"
    assert len(receiver.got) == 1


def test_retry_after_is_honoured(receiver: Receiver) -> None:
    receiver.status, receiver.extra = 429, {"Retry-After": "120"}
    job = attempt(submit(receiver.url))
    event = Event.objects.get(job=job, event="retry")
    assert event.run_after is not None
    assert 115 < (event.run_after - event.at).total_seconds() < 125


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    assert webhook.retry_after_s({"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}) == 0
    assert webhook.retry_after_s({"retry-after": "999999999"}) == webhook.MOST_WAIT_S
    assert webhook.retry_after_s({"Retry-After": "soon"}) is None
    assert webhook.retry_after_s({}) is None


def test_without_a_secret_the_key_is_derived(settings: Any) -> None:
    settings.JOBS_WEBHOOK_SECRET = ""
    derived = webhook.secret()
    assert len(derived) == 32
    settings.SECRET_KEY = "another"
    assert webhook.secret() != derived


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
def test_our_own_network_is_not_reached(host: str) -> None:
    job = attempt(submit(f"http://{host}:9/"))
    assert (job.status, job.error_code) == ("failed", "blocked-address")


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("172.16.0.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fe80::1", False),
        ("fd00::1", False),
    ],
)
def test_what_counts_as_public(address: str, is_public: bool) -> None:
    assert outbound.is_public(address) is is_public


@pytest.mark.parametrize("url", ["ftp://example.com/", "http:///x", "http://u:p@example.com/", "http://a b/", "//x"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(InvalidPayload):
        submit(url)
