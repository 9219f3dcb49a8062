"""A TCP proxy that loses replies or everything, as networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from enum import Enum
from pathlib import Path


class Mode(Enum):
    PASS = "pass"
    DROP_REPLIES = "drop replies"  # the request is served, the connection breaks before its reply
    PARTITION = "partition"  # nothing passes in either direction, connections stay half-open


class Proxy:
    """In front of `target`, a port of this machine or a unix socket, in a thread of its own."""

    def __init__(self, target: int | Path, address: str = "127.0.0.1") -> None:
        self.mode = Mode.PASS
        self.dropped = 0
        self._target, self._address = target, address
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = int(probe.getsockname()[1])
        self._is_serving = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True).start()
        if not self._is_serving.wait(5):
            raise RuntimeError("the proxy did not start")

    async def _main(self) -> None:
        async with await asyncio.start_server(self._serve, self._address, self.port) as server:
            self._is_serving.set()
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, Path):
                behind = await asyncio.open_unix_connection(str(self._target))
            else:
                behind = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        requests = asyncio.ensure_future(self._pass_on(reader, behind[1], is_reply=False))
        replies = asyncio.ensure_future(self._pass_on(behind[0], writer, is_reply=True))
        await asyncio.wait([requests, replies], return_when=asyncio.FIRST_COMPLETED)
        for task in (requests, replies):
            task.cancel()
        behind[1].transport.abort()
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while self.mode is Mode.PARTITION:
                    await asyncio.sleep(0.05)
                if is_reply and self.mode is Mode.DROP_REPLIES:
                    self.dropped += 1
                    return
                writer.write(data)
                await writer.drain()
