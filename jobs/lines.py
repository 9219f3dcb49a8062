"""Log lines of many jobs at once: a line each, formatted only where it is written, and written together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

PLAIN = (logging.StreamHandler, logging.FileHandler)
"""Handlers that are known to write what they format, and nothing else."""

MARK = "\N{SYMBOL FOR NULL}"
"""Stands for the message while the rest of the line is formatted."""


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


def _is_verbatim(formatter: logging.Formatter | None) -> bool:
    """Whether the message stands in the line as it is, so that all else is the same for all of them."""
    if formatter is None:
        return True
    kind = type(formatter)
    is_own = kind.format is not logging.Formatter.format or kind.formatMessage is not logging.Formatter.formatMessage
    return not is_own and "%(message)s" in str(formatter._fmt)


def _write(handler: logging.Handler, log: logging.Logger, level: int, messages: Sequence[str]) -> None:
    assert isinstance(handler, logging.StreamHandler)
    record = _record(log, level, MARK)
    head, mark, tail = handler.format(record).partition(MARK)
    if mark and _is_verbatim(handler.formatter):
        texts = [f"{head}{message}{tail}" for message in messages]
    else:
        texts = []
        for message in messages:
            record.msg = message
            texts.append(handler.format(record))
    handler.acquire()
    try:
        handler.stream.write(handler.terminator.join([*texts, ""]))
        handler.flush()
    except Exception:  # as logging does: a full disk must not end a worker
        handler.handleError(record)
    finally:
        handler.release()
