"""HTTP/1.1 on one connection: what is no HTTP, comes too slowly or is too large in its head gets a problem document.

Owns the limits that uvicorn has no options for. A request is timed only while it is incomplete, so one that
arrives in one piece costs no timer. Bodies are bounded by the application, which knows what may be how long.
"""

from __future__ import annotations

import enum
import secrets
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jobs.api import problems

LINGER_S = 2.0
"""How long a client that was refused may go on sending: to hang up on it at once would reset the connection,
and it would never read why."""

ONLY_ONCE = b"idempotency-key"
"""Repeated headers are one list to a server, and so two keys would pass for a third."""


class Stage(enum.Enum):
    """Where in a request the connection is."""

    BETWEEN = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Refused(Exception):
    """Raised within the parser's callbacks; it makes the parser give up."""


class Exit:
    """The transport as one answer sees it. Its head waits for what follows, so that they leave in one piece: a system
    call less for us, and a packet less for the client. After the last answer the connection is closed without losing it."""

    def __init__(self, protocol: Protocol, *, is_last: bool) -> None:
        self._write = protocol.transport.write
        self._head: bytes | None = None
        self.is_closing = protocol.transport.is_closing
        self.close = protocol.hang_up if is_last else protocol.transport.close

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._head = data
        else:
            self._write(self._head + data)
            self.write = self._write  # type: ignore[method-assign]


class Protocol(HttpToolsProtocol):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stage = Stage.BETWEEN
        self.requests = 0
        self.head_bytes = 0
        self.head_max_bytes: int = settings.SERVE_HEAD_MAX_BYTES
        self.is_refused = False
        self.timer: TimerHandle | None = None
        self.timed: tuple[int, Stage] | None = None
        """Which part of which request the timer is for."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._keep_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        head = (self.requests, Stage.HEAD)
        is_going_on = self._part() == head
        super().data_received(data)
        if is_going_on and self._part() == head:
            self.head_bytes += len(data)  # the parser shows a header only once it is whole
            if self.head_bytes > self.head_max_bytes:
                self._refuse(431, _too_large())
        if not self.is_refused:
            self._keep_time()

    def eof_received(self) -> None:
        if self.stage is not Stage.BETWEEN and not self.is_refused:
            self._refuse(400, "The request ends in the middle.")

    def shutdown(self) -> None:
        super().shutdown()
        if self.stage is not Stage.BETWEEN and self.cycle and not self.cycle.response_started:
            self.transport.close()  # half a request: nothing of it was done

    # --- the parser's callbacks -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.stage, self.head_bytes = Stage.HEAD, 0
        self.requests += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size, keys = len(self.url), 0
        for name, value in self.headers:
            size += len(name) + len(value)
            keys += name == ONLY_ONCE
        if size > self.head_max_bytes:
            self._refuse(431, _too_large())
            raise Refused
        if keys > 1:
            self._refuse(400, "The header Idempotency-Key may stand in a request once.", code="bad-key")
            raise Refused
        self.stage = Stage.BODY
        super().on_headers_complete()
        exit = Exit(self, is_last=not self.cycle.keep_alive)
        if self.scope["method"] == "HEAD" or self.cycle.waiting_for_100_continue:  # nothing follows, or not at once
            exit.write = self.transport.write  # type: ignore[method-assign]
        self.cycle.transport = exit  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        self.stage = Stage.BETWEEN
        super().on_message_complete()

    def _part(self) -> tuple[int, Stage]:
        return self.requests, self.stage

    # --- time -----------------------------------------------------------------------------------------

    def _keep_time(self) -> None:
        """Have a timer for the part that is being waited for, and none for anything else."""
        part = self._part()
        if self.stage is Stage.BETWEEN and (self.timeout_keep_alive_task or self._is_answering()):
            self._stop_timer()
        elif part != self.timed:
            self._stop_timer()
            limit_s = settings.SERVE_BODY_TIMEOUT_S if self.stage is Stage.BODY else settings.SERVE_HEAD_TIMEOUT_S
            self.timed, self.timer = part, self.loop.call_later(limit_s, self._is_late)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.timed = None

    def _is_late(self) -> None:
        if self.pipeline:  # it is we who do not read: earlier requests come first
            self.timed = None
            self._keep_time()
        elif self.stage is Stage.BETWEEN:
            self.transport.close()  # it never said a word; browsers open such connections in advance
        else:
            part = "body" if self.stage is Stage.BODY else "head"
            self._refuse(408, f"The {part} of the request did not arrive in time.")

    # --- refusing -------------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        if not self.is_refused:
            self._refuse(400, msg)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int, detail: str, *, code: str = "") -> None:
        """Answer with a problem, heed nothing more, and hang up when the client has, or after LINGER_S."""
        self.is_refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self._is_answering():
            if (
                not self.cycle.more_body
            ):  # an earlier request was complete: its answer comes, ours could not be told from it
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        elif self.cycle is not None and self.stage is Stage.BODY:
            self.transport.close()  # answered already, before its body was there
            return
        self.transport.write(_answer(status, detail, code))
        self._linger()

    def hang_up(self) -> None:
        """Close, once what was sent has been read: at once where the client has nothing more to say."""
        if self.stage is Stage.BETWEEN or self.transport.is_closing():
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self.is_refused = True
        self._stop_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_S, self.transport.close)


def _too_large() -> str:
    return f"Method, path and headers are more than {settings.SERVE_HEAD_MAX_BYTES:,} bytes."


def _answer(status: int, detail: str, code: str) -> bytes:
    number = secrets.token_hex(8)
    errors = [{"pointer": "", "code": code, "detail": detail}] if code else []
    body = orjson.dumps(problems.document(status, detail, number, errors=errors))
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {number}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
