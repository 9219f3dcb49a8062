"""Jobs of others in the lists of our queues: kept, named in the log, and never run by us.

Our queue class refuses them where they are enqueued. A process with other settings, or RQ's own `Queue`, can still
write its id into a list of ours. Such an id goes to the list `<queue>.foreign`, from which any RQ worker can run it;
its hash is left as it is.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from jobs.conf import conf
from jobs.redis_client import broker

log = logging.getLogger("jobs.queue")

LIST = "rq:queue:"
SUFFIX = ".foreign"
PAGE = 1000
NAMED = 20
"""Ids that one line of the log names."""

_quiet_until = 0.0

_KEEP = """
local kept = {}
local function keep(queue, id)
  local key, ours = 'rq:job:' .. id, '["jobs.worker.perform",null,["' .. id .. '"],{}]'
  local length = redis.pcall('HSTRLEN', key, 'data') -- an error, which is a table, where the key is not a hash
  if type(length) == 'number' and length > 0 and (length ~= #ours or redis.call('HGET', key, 'data') ~= ours) then
    local list = 'rq:queue:' .. queue .. '.foreign'
    redis.call('SADD', 'rq:queues', list)
    redis.call('RPUSH', list, id)
    kept[#kept + 1] = queue
    kept[#kept + 1] = id
  end
end
"""
_KEEP_THESE = _KEEP + "for i = 1, #ARGV, 2 do keep(ARGV[i], ARGV[i + 1]) end return kept"
_KEEP_OF_LIST = (
    _KEEP
    + "for _, id in ipairs(redis.call('LPOP', 'rq:queue:' .. ARGV[1], ARGV[2]) or {}) do keep(ARGV[1], id) end return kept"
)


def put_aside(popped: Iterable[tuple[uuid.UUID | bytes, str]], connection: redis.Redis | None = None) -> None:
    """Keep those ids that are jobs of others. `popped`: (entry of a list, name of the queue). Never raises."""
    global _quiet_until
    entries = [(name, entry if isinstance(entry, bytes) else str(entry).encode()) for entry, name in popped]
    if not entries or time.monotonic() < _quiet_until:
        return
    try:
        arguments = [part for pair in entries for part in pair]
        kept = _tell((connection or broker()).eval(_KEEP_THESE, 0, *arguments))
        dropped = [entry for _, entry in entries if entry not in kept and not _is_uuid(entry)]
        if dropped:
            log.warning("dropped entries of queues that name no job: entries=%s", _names(dropped))
    except Exception as error:  # their hashes are still there
        _quiet_until = time.monotonic() + conf().breaker_s
        ids = [entry for _, entry in entries]
        log.warning(
            "did not find out whether popped ids are jobs of others (%s): ids=%s", type(error).__name__, _names(ids)
        )


def clear(name: str, connection: redis.Redis) -> None:
    """Empty the list of a queue; what belongs to others is kept. What is pushed meanwhile stays."""
    left = connection.llen(LIST + name)
    while left > 0:
        _tell(connection.eval(_KEEP_OF_LIST, 0, name, min(left, PAGE)))
        left -= PAGE


def _tell(answer: Any) -> set[bytes]:
    """Say in the log what was kept; the ids."""
    kept: dict[str, list[bytes]] = {}
    for queue, entry in zip(answer[::2], answer[1::2], strict=True):
        kept.setdefault(queue.decode(), []).append(entry)
    for queue, entries in kept.items():
        log.warning(
            "put aside jobs of others: queue=%s count=%d moved_to=%s%s ids=%s; this queue runs jobs of the job system only",
            queue, len(entries), queue, SUFFIX, _names(entries),
        )  # fmt: skip
    return {entry for entries in kept.values() for entry in entries}


def _is_uuid(entry: bytes) -> bool:
    try:
        uuid.UUID(entry.decode())
    except ValueError:
        return False
    return True


def _names(entries: Sequence[bytes]) -> str:
    """For a line of the log: somebody else chose these texts."""
    shown = ", ".join(ascii(entry[:60].decode("utf-8", "replace")) for entry in entries[:NAMED])
    return shown + (f", … ({len(entries)} in all)" if len(entries) > NAMED else "")
