"""The mirror: only something newer overwrites it, and it is believed only as long as it may be."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import orjson
import pytest

from jobs import mirror, operate, prune, queue
from jobs.conf import conf
from jobs.lifecycle import Actor, End
from jobs.models import Job
from jobs.rows import Row, mirror_entry
from jobsite import broker
from tests.support import lives, sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def row_of(job_id: uuid.UUID) -> Row:
    return mirror.rows_of([job_id])[0]


def status_of(job_id: uuid.UUID) -> Any:
    found = mirror.read_status(job_id)
    return found and found[1]["status"]


def test_a_fresh_mirror_is_answered_without_the_database(django_assert_num_queries: Any) -> None:
    job_id = lives.submit(client="alice")
    with django_assert_num_queries(0):
        found = mirror.read_status(job_id)
    assert found is not None
    assert found[0] == "alice"
    assert found[1] == orjson.loads(orjson.dumps(row_of(job_id).document))


def test_an_older_state_never_overwrites_a_newer_one() -> None:
    job_id = lives.submit()
    old = row_of(job_id)
    lives.attempt(job_id)
    assert mirror.write([row_of(job_id)])
    assert mirror.write([old])
    assert status_of(job_id) == "succeeded"


def test_within_one_version_the_later_progress_wins_and_a_mend_keeps_it() -> None:
    claimed = lives.claim(lives.submit())
    for number in (2, 1):
        queue.run(queue.Turn(mirrors=[mirror_entry(claimed.row, number, {"current": number})]))
    mirror.write([claimed.row])
    found = mirror.read_status(claimed.row.id)
    assert found is not None
    assert found[1]["progress"] == {"current": 2}


def test_a_state_other_than_succeeded_is_believed_for_a_while_only(settings: Any) -> None:
    job_id = lives.submit()
    lives.claim(job_id)  # its horse died before it could tell
    assert status_of(job_id) == "queued"
    settings.JOBS_MIRROR_TRUST_S = 0
    assert status_of(job_id) == "running"
    entry = mirror.peek(job_id)
    assert entry is not None
    assert entry.status["status"] == "running", "the mirror was not mended"


def test_a_stale_mirror_of_the_present_version_keeps_its_progress_and_is_fresh_again() -> None:
    claimed = lives.claim(lives.submit())
    queue.run(queue.Turn(mirrors=[mirror_entry(claimed.row, 1, {"current": 1})]))
    key = f"{mirror.STATUS}{claimed.row.id}"
    queue.broker().pexpire(key, (conf().mirror_ttl_s - 60) * 1000)  # a minute old
    entry = mirror.peek(claimed.row.id)
    assert entry is not None
    assert not entry.is_fresh
    found = mirror.read_status(claimed.row.id)
    assert found is not None
    assert found[1]["progress"] == {"current": 1}
    again = mirror.peek(claimed.row.id)
    assert again is not None
    assert again.is_fresh


def test_succeeded_is_believed_as_it_stands(settings: Any, django_assert_num_queries: Any) -> None:
    job_id = lives.submit()
    lives.attempt(job_id)
    mirror.write([row_of(job_id)])
    settings.JOBS_MIRROR_TRUST_S = 0
    with django_assert_num_queries(0):
        assert status_of(job_id) == "succeeded"


def test_a_mirror_of_another_epoch_is_not_believed() -> None:
    job_id = lives.submit()
    lives.claim(job_id)
    queue.broker().set(mirror.EPOCH, mirror.epoch_text(7))
    assert mirror.peek(job_id) is None
    assert status_of(job_id) == "running"
    assert mirror.peek(job_id) is not None


def test_what_somebody_else_wrote_there_is_no_answer() -> None:
    job_id = lives.submit()
    for garbage in (b"garbage", b"[]", b'{"v":1}', b'{"v":"00000000zz","owner":1}'):
        queue.broker().set(f"{mirror.STATUS}{job_id}", garbage, ex=86_400)
        assert status_of(job_id) == "queued"


def test_a_pruned_job_has_no_status() -> None:
    job_id = lives.submit()
    lives.attempt(job_id)
    prune.prune(dt.datetime.now(dt.UTC) + dt.timedelta(days=31))
    queue.broker().delete(f"{mirror.STATUS}{job_id}")
    assert mirror.read_status(job_id) is None
    assert mirror.read_status(uuid.uuid4()) is None


def test_without_redis_the_database_answers() -> None:
    job_id = lives.submit()
    broker.stop(sandbox.folder())
    lives.claim(job_id)
    assert status_of(job_id) == "running"
    assert not mirror.write([row_of(job_id)])


@pytest.mark.parametrize("act", ["cancel", "request_cancel", "rerun", "promote"])
def test_what_somebody_asked_for_is_seen_at_once(act: str) -> None:
    job_id = lives.submit(delay_s=60 if act == "promote" else None)
    if act == "request_cancel":
        lives.claim(job_id)
    if act == "rerun":
        lives.end(lives.claim(job_id).row, End.PERMANENT)
    call = {"request_cancel": operate.cancel}.get(act) or getattr(operate, act)
    call(job_id, actor=Actor.OPERATOR, who="ann")
    entry = mirror.peek(job_id)
    job = Job.objects.get(pk=job_id)
    assert entry is not None
    assert (entry.version, entry.status["status"]) == (job.version, job.status)
    if job.status == "queued":
        assert str(job_id).encode() in queue.broker().lrange(queue.LIST + "default", 0, -1)
    assert bool(queue.broker().exists(queue.HASH + str(job_id))) == (job.status in ("queued", "running"))
