"""The load generator against a server that writes down what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from benchmarks.__main__ import ROOT
from benchmarks.load import BATCH, fill, poll_each, poll_for
from benchmarks.node import folder
from benchmarks.peers.base import Api
from benchmarks.services import NotMeasured

DATA = ROOT / "var"
INSTALLED = DATA / "benchmarks" / "node" / "node_modules"
pytestmark = pytest.mark.skipif(not INSTALLED.exists(), reason="needs Node's packages, which scripts/bench installs")


class Scribe(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: list[str]
    posted: list[Any]
    refused: str

    def do_GET(self) -> None:
        self.asked.append(self.path)
        is_known = self.headers.get("if-none-match") == f'"{self.path}"'
        self._answer(304 if is_known else 404 if self.path == self.refused else 200)

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(202)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("etag", f'"{self.path}"')
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def scribe(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Scribe]]:
    monkeypatch.setenv("JOBS_DATA_DIR", str(DATA))
    folder.cache_clear()

    class Own(Scribe):
        asked, posted, refused = [], [], ""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    Own.port = server.server_port  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()
    folder.cache_clear()


def api_of(scribe: type[Scribe]) -> Api:
    url = f"http://127.0.0.1:{scribe.port}"  # type: ignore[attr-defined]
    return Api(cast(Any, None), f"{url}/jobs", f"{url}/batch", {"authorization": "Bearer x"}, f"{url}/jobs/{{id}}")


IDS = [f"job-{number}" for number in range(50)]


def test_each_status_is_asked_for_once(scribe: type[Scribe]) -> None:
    answered = poll_each(api_of(scribe), IDS)
    assert answered.requests == len(IDS)
    assert sorted(scribe.asked) == sorted(f"/jobs/{job_id}" for job_id in IDS)


def test_a_conditional_poll_counts_unchanged_answers_and_asks_for_all(scribe: type[Scribe]) -> None:
    answered = poll_for(api_of(scribe), IDS, 1, is_conditional=True)
    assert 0 < answered.requests <= len(scribe.asked) - len(IDS)
    assert set(scribe.asked) == {f"/jobs/{job_id}" for job_id in IDS}


def test_a_refused_request_is_no_figure(scribe: type[Scribe]) -> None:
    scribe.refused = f"/jobs/{IDS[7]}"
    with pytest.raises(NotMeasured, match="refused 1 of 50 requests"):
        poll_each(api_of(scribe), IDS)


def test_jobs_are_filled_in_whole_batches_with_keys_of_their_own(scribe: type[Scribe]) -> None:
    fill(api_of(scribe), 2 * BATCH + 1)
    jobs = [job for body in scribe.posted for job in body["jobs"]]
    assert len(jobs) == len({job["idempotencyKey"] for job in jobs}) == 3 * BATCH
