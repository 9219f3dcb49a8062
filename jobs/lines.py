"""Log lines of many jobs at once: a line each, formatted only where it is written, and written together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

PLAIN = (logging.StreamHandler, logging.FileHandler)
"""Handlers that are known to write what they format, and nothing else."""


def say_each(log: logging.Logger, level: int, messages: Sequence[str]) -> None:
    """As `log.log(level, message)` for each, but with one write, and one flush, for all of them."""
    if not messages or not log.isEnabledFor(level):
        return
    for handler in _handlers(log):
        if level >= handler.level:
            if type(handler) in PLAIN and not handler.filters and not log.filters:
                _write(handler, log, level, messages)
            else:
                for message in messages:
                    record = _record(log, level, message)
                    if log.filter(record):
                        handler.handle(record)


def _handlers(log: logging.Logger) -> Iterator[logging.Handler]:
    """Those that a record of this logger reaches."""
    logger: logging.Logger | None = log
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _record(log: logging.Logger, level: int, message: str) -> logging.LogRecord:
    return log.makeRecord(log.name, level, __file__, 0, message, (), None)


def _write(handler: logging.Handler, log: logging.Logger, level: int, messages: Sequence[str]) -> None:
    assert isinstance(handler, logging.StreamHandler)
    record = _record(log, level, "")
    texts = []
    for message in messages:
        record.msg = message
        texts.append(handler.format(record) + handler.terminator)
    handler.acquire()
    try:
        handler.stream.write("".join(texts))
        handler.flush()
    except Exception:  # as logging does: a full disk must not end a worker
        handler.handleError(record)
    finally:
        handler.release()
