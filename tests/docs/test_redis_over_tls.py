"""The README's `rediss://`: doctor and worker reach Redis through TLS, and trust nobody's certificate.

The embedded broker speaks no TLS, so a proxy in front of it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs
from jobs.models import Job
from jobsite import broker
from tests.support.eventually import eventually
from tests.support.processes import free_port
from tests.support.world import World


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for 127.0.0.1; certificate and key in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "redis.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


class TlsProxy:
    """Ends TLS on a free port and passes everything on to a unix socket."""

    def __init__(self, certificate: Path, socket_path: Path) -> None:
        self.port = free_port()
        self.count = 0
        self._socket_path = socket_path
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._is_serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def start(self) -> None:
        self._thread.start()
        assert self._is_serving.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._is_told.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop, self._is_told = asyncio.get_running_loop(), asyncio.Event()
        async with await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context):
            self._is_serving.set()
            await self._is_told.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        behind_reader, behind_writer = await asyncio.open_unix_connection(str(self._socket_path))
        try:
            await asyncio.wait(
                [
                    asyncio.ensure_future(_pass_on(reader, behind_writer)),
                    asyncio.ensure_future(_pass_on(behind_reader, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            behind_writer.close()
            writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@pytest.fixture
def proxy(world: World, certificate: Path) -> Iterator[TlsProxy]:
    found = TlsProxy(certificate, broker.socket_path(world.data_dir))
    found.start()
    yield found
    world.stop()  # its processes, before the proxy that they talk to
    found.stop()


def test_jobs_are_fetched_through_tls(world: World, proxy: TlsProxy, certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}"
    world.worker(REDIS_URL=url)
    job_id = jobs.submit("health-check").id
    eventually(lambda: Job.objects.get(pk=job_id).status == "succeeded", timeout_s=15)
    probed = json.loads(world.ask("doctor", "--json", REDIS_URL=url).stdout)
    assert [found["level"] for found in probed["findings"] if found["probe"] == "broker"] == ["ok"]
    assert proxy.count > 1


def test_a_certificate_of_nobody_is_refused_and_doctor_says_so(world: World, proxy: TlsProxy) -> None:
    probed = json.loads(world.ask("doctor", "--json", REDIS_URL=f"rediss://127.0.0.1:{proxy.port}/0").stdout)
    (found,) = [found for found in probed["findings"] if found["probe"] == "broker"]
    assert found["level"] == "failure"
    assert "certificate" in found["sentence"]
