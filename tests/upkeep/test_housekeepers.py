"""One housekeeper at a time, a rebuild for a loss only, and a Redis that serves one database."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Iterator

import pytest

import jobs
from jobs import loss, mirror, operate, owner, process, queue, rebuild, transitions
from jobs.leader import EXPIRES_S, Leader, TakenOver
from jobs.lifecycle import Actor
from jobs.models import Event, Housekeeping, Job, Lease, clock
from jobs.reconcile import Housekeeper, reconcile
from jobsite import broker
from tests.support import lives, sandbox, world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _known_owner() -> Iterator[None]:
    yield
    owner.note("")


def row() -> Housekeeping:
    return Housekeeping.objects.get(pk=1)


def epochs() -> tuple[int, int]:
    """(the database's, Redis')."""
    return row().epoch, int(queue.broker().get(mirror.EPOCH) or b"0", 16)


def keep_house(turns: int = 1) -> Housekeeper:
    """A housekeeper that did so many turns, all of which were its own."""
    one = Housekeeper(f"one-{uuid.uuid4()}")
    Housekeeping.objects.update(holder="")
    for _ in range(turns):
        assert one.turn() is not None
    return one


# --- whose turn it is ---------------------------------------------------------------------------------


def identity(*, boot_id: str | None = None, namespace: str | None = None, pid: int | None = None) -> str:
    here = process.place()
    place = (boot_id or here.boot_id, namespace or here.pid_namespace)
    return "/".join(map(str, ("host", *place, pid or 4_000_000, 1, "0")))


@pytest.mark.parametrize(
    ("holder", "is_free"),
    [
        (identity(), True),
        (identity(namespace="pid:[1]"), False),  # a container beside ours: its pids are not ours to look up
        (identity(boot_id="another"), False),
        (identity(pid=os.getppid()), True),  # another process has its pid by now
        ("host/boot/1/1", False),
        ("", True),
    ],
)
@pytest.mark.skipif(not process.IS_LINUX, reason="no /proc")
def test_only_who_is_seen_to_be_gone_loses_its_turn_early(holder: str, is_free: bool) -> None:
    keep_house()
    Housekeeping.objects.update(holder=holder, expires_at=clock.now() + dt.timedelta(seconds=EXPIRES_S - 1))
    assert (Housekeeper("other").turn() is not None) == is_free


def test_two_housekeepers_of_one_process_are_two() -> None:
    keep_house()
    assert Housekeeper("second").turn() is None


@pytest.mark.skipif(not process.IS_LINUX, reason="no /proc")
def test_a_process_that_proc_does_not_show_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_stat", lambda pid: None)  # as with hidepid
    assert process.is_alive(os.getpid(), 1)
    assert not process.is_alive(4_000_000, 1)


def test_a_long_turn_is_kept_and_ends_where_another_one_took_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.leader.KEEP_EVERY_S", 0)
    first, second = Leader(process.place()), Leader(process.place())
    assert first.take() is not None
    Housekeeping.objects.update(expires_at=clock.now() - dt.timedelta(seconds=1))
    first.keep()
    assert second.take() is None
    Housekeeping.objects.update(expires_at=clock.now() - dt.timedelta(seconds=1))
    assert second.take() is not None
    with pytest.raises(TakenOver):
        first.keep()
    with pytest.raises(TakenOver):
        first.raise_epoch(9)
    assert row().epoch == 1


def test_who_asks_for_a_turn_gets_the_next_one_and_gives_it_back() -> None:
    regular = keep_house(3)
    beat = row().beat
    asking = Leader(process.place())
    Housekeeping.objects.update(asked_by=asking.identity, asked_until=clock.now() + dt.timedelta(seconds=2))
    assert regular.turn() is None
    taken = asking.wait()
    assert taken.beat == beat
    assert regular.turn() is None
    asking.give_back()
    assert regular.turn() is not None


def test_forced_turns_are_no_beats_and_rebuild_once_each() -> None:
    keep_house(3)
    Housekeeping.objects.update(holder="")
    beat = row().beat
    for _ in range(20):
        assert reconcile().epoch == 1
    assert reconcile(is_thorough=True).epoch == 2
    assert (row().beat, row().holder, row().asked_by) == (beat, "", "")
    assert epochs() == (2, 2)


def test_maintenance_leaves_the_house_to_whoever_keeps_it() -> None:
    regular = keep_house(2)
    Job.objects.filter(pk=jobs.submit("echo", delay_s=60).id).update(run_after=clock.now())
    assert reconcile().promoted == 0
    report = regular.turn()
    assert report is not None
    assert report.promoted == 1


def test_turns_that_do_not_reach_redis_are_no_loss() -> None:
    """A beat that Redis was not told of is not raised further, by however many housekeepers in however many turns."""
    keep_house(3)
    for _ in range(3 * loss.BEHIND):
        Housekeeping.objects.update(holder="")
        assert Leader(process.place()).take() is not None
    assert keep_house().turn() is not None
    assert epochs() == (1, 0)


# --- losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "is_loss"),
    [
        ({loss.BEAT: None}, True),
        ({loss.BEAT: b"nonsense"}, True),
        ({loss.BEAT: b"3:1"}, True),
        ({loss.BEAT: b"2:90"}, True),
        ({mirror.EPOCH: None}, True),
        ({mirror.EPOCH: b"00000002"}, True),
        ({mirror.EPOCH: b"zzzzzzzz"}, True),
        ({mirror.EPOCH: b"3"}, True),
        ({mirror.EPOCH: b"ffffffff"}, True),
        ({owner.MARK: None}, False),
        ({owner.ALIVE: None}, False),
        ({}, False),
    ],
)
def test_what_redis_lost_begins_an_epoch_once(keys: dict[str, bytes | None], is_loss: bool) -> None:
    one = keep_house(2)
    Housekeeping.objects.update(epoch=3, beat=50)
    queue.broker().mset({loss.BEAT: "3:50", mirror.EPOCH: mirror.epoch_text(3)})
    for key, value in keys.items():
        if value is None:
            queue.broker().delete(key)
        else:
            queue.broker().set(key, value)
    for _ in range(3):
        assert one.turn() is not None
    assert epochs() == ((4, 4) if is_loss else (3, 3))


def test_an_epoch_is_higher_than_any_that_redis_knows() -> None:
    one = keep_house(2)
    queue.broker().set(mirror.EPOCH, mirror.epoch_text(7))
    queue.broker().set(loss.BEAT, "9:3")
    assert one.turn() is not None
    assert epochs() == (10, 10)


def test_a_mirror_of_another_epoch_is_overwritten_whatever_its_number() -> None:
    submitted = jobs.submit("echo")
    key = f"{mirror.STATUS}{submitted.id}"
    found = queue.broker().get(key) or b""
    queue.broker().set(key, found.replace(b'"v":"00000000', b'"v":"zzzzzzzz'), ex=600)
    assert mirror.peek(submitted.id) is None
    assert mirror.write(mirror.rows_of([submitted.id]))
    assert mirror.peek(submitted.id) is not None


# --- restored databases -------------------------------------------------------------------------------


def test_after_a_restore_and_one_more_loss_no_status_of_the_lost_future_is_answered() -> None:
    one = keep_house(3)
    backup = Housekeeping.objects.values().get(pk=1)
    reconcile(is_thorough=True)
    reconcile(is_thorough=True)  # Redis is at epoch 3
    lost = jobs.submit("echo").id
    (moved,) = transitions.cancel([lost], actor=Actor.CLIENT, who="c")
    assert mirror.write([moved._replace(status="succeeded", version=9)])
    found = mirror.peek(lost)
    assert found is not None
    assert found.is_fresh

    Job.objects.all().delete()
    Housekeeping.objects.filter(pk=1).update(**{**backup, "holder": ""})
    restored = Housekeeper("restored")
    assert restored.turn() is not None
    assert epochs() == (4, 4)
    assert row().mark != backup["mark"]
    assert mirror.read_status(lost) is None
    for _ in range(3):
        queue.broker().delete(loss.BEAT)
        assert restored.turn() is not None
        assert mirror.read_status(lost) is None
    assert epochs() == (7, 7)
    assert one.turn() is None


@pytest.mark.parametrize(("found", "epoch"), [("7fffffff", 2**31), ("ffffffff", 2)])
def test_an_epoch_that_somebody_wrote_into_redis_costs_one_rebuild(found: str, epoch: int) -> None:
    one = keep_house(2)
    queue.broker().set("jobs:epoch", found)
    for _ in range(3):
        assert one.turn() is not None
    assert epochs() == (epoch, epoch)


@pytest.mark.parametrize("is_newer", [False, True])
def test_jobs_that_ran_at_the_time_of_the_backup_are_not_charged_for_the_restore(is_newer: bool) -> None:
    """Three times in a row. A lease of the time after it pays as usual."""
    for _ in range(3):
        keep_house(2)
        job_id, lease_id = lives.submit(), lives.open_lease()
        transitions.open_attempts([job_id], lease_id=lease_id, worker="w")
        row_of_job = Job.objects.values().get(pk=job_id)
        backup = Housekeeping.objects.values().get(pk=1)
        keep_house(8)

        Housekeeping.objects.filter(pk=1).update(**{**backup, "holder": ""})
        Job.objects.filter(pk=job_id).update(**row_of_job)
        created_at = clock.now() + dt.timedelta(hours=is_newer)
        Lease.objects.filter(pk=lease_id).update(created_at=created_at, parent_pid=4_000_000, horse_pid=None, **here())
        assert Housekeeper("restored").turn() is not None
        event = Event.objects.filter(job_id=job_id).latest("id").event
        assert event == ("expire" if is_newer else "release")
        assert Job.objects.get(pk=job_id).crashes == int(is_newer)


def here() -> dict[str, str]:
    place = process.place()
    return {"boot_id": place.boot_id, "pid_namespace": place.pid_namespace}


# --- two databases on one Redis -----------------------------------------------------------------------


OTHER = "0123456789abcdef0123456789abcdef"


def serve_another_database() -> None:
    """Redis as the housekeeper of another database left it a moment ago."""
    queue.broker().mset({owner.MARK: OTHER, loss.BEAT: "4:70", mirror.EPOCH: mirror.epoch_text(4)})
    queue.broker().set(owner.ALIVE, identity(boot_id="another"), ex=15)


def test_who_came_first_keeps_redis_and_the_other_leaves_it_alone(caplog: pytest.LogCaptureFixture) -> None:
    serve_another_database()
    queue.broker().rpush(queue.LIST + "default", str(uuid.uuid4()))
    one = keep_house(4)
    before = {key: queue.broker().dump(key) for key in queue.broker().keys("*")}
    submitted = jobs.submit("echo")
    assert one.turn() is not None
    assert {key: queue.broker().dump(key) for key in queue.broker().keys("*")} == before
    assert row().epoch == 1
    with pytest.raises(owner.Rival):
        queue.run(queue.Turn(pop=1, queues=["default"]))
    assert mirror.read_status(submitted.id) is not None
    sentence = rebuild.rival()
    assert sentence is not None
    assert OTHER in sentence
    assert "runs on host" in sentence
    assert sum("serve another database" in record.getMessage() for record in caplog.records) == 1


def test_a_redis_whose_database_is_gone_is_taken_over_once() -> None:
    serve_another_database()
    one = keep_house(2)
    submitted = jobs.submit("echo")
    queue.broker().delete(owner.ALIVE)  # as it expires
    for _ in range(3):
        assert one.turn() is not None
    assert epochs() == (5, 5)
    assert rebuild.rival() is None
    assert queue.broker().lrange(queue.LIST + "default", 0, -1) == [str(submitted.id).encode()]


def test_a_copy_of_a_database_beside_it_is_another_one() -> None:
    keep_house(2)
    backup = Housekeeping.objects.values().get(pk=1)
    keep_house(4)
    queue.broker().set(owner.ALIVE, identity(boot_id="another"), ex=15)  # the first one, which goes on elsewhere
    beat = queue.broker().get(loss.BEAT)
    Housekeeping.objects.filter(pk=1).update(**{**backup, "holder": ""})
    copy = keep_house(3)
    assert queue.broker().get(loss.BEAT) == beat
    assert row().mark != backup["mark"]
    assert rebuild.rival() is not None
    queue.broker().delete(owner.ALIVE)
    assert copy.turn() is not None
    assert rebuild.rival() is None
    assert epochs() == (2, 2)


# --- work that grows with garbage ---------------------------------------------------------------------


def old_jobs(count: int, name: str = "default") -> list[uuid.UUID]:
    """Queued jobs, older than the margin, whose ids stand in the list."""
    ids = [jobs.submit("echo", queue=name).id for _ in range(count)]
    Job.objects.filter(pk__in=ids).update(queued_at=clock.now() - dt.timedelta(minutes=1))
    return ids


def listed() -> list[str]:
    return [text.decode() for text in queue.broker().lrange(queue.LIST + "default", 0, -1)]


def test_cancelled_ids_at_the_head_are_trimmed_and_nothing_is_pushed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "GLANCE", 2)
    monkeypatch.setattr(rebuild, "PAGE", 4)
    monkeypatch.setattr(rebuild, "PAGES", 3)
    one = keep_house(2)
    operate.pause_queue("default", "ops")
    ids = old_jobs(50)
    transitions.cancel(ids[:40], actor=Actor.OPERATOR, who="ops")
    pushed = 0
    for _ in range(5):
        report = one.turn()
        assert report is not None
        pushed += report.repushed
    assert pushed == 0
    assert listed() == [str(job_id) for job_id in ids[40:]]
    queue.broker().lrem(queue.LIST + "default", 0, str(ids[45]))
    assert epochs() == (1, 0)


def test_what_somebody_else_put_into_a_list_is_not_trimmed() -> None:
    foreign = str(uuid.uuid4())
    queue.broker().rpush(queue.LIST + "default", foreign)
    ids = old_jobs(4)
    transitions.cancel(ids[:2], actor=Actor.OPERATOR, who="ops")
    assert rebuild.repush_lost("default") == 0
    assert listed() == [foreign, *map(str, ids)]


def test_an_outage_is_no_loss_and_what_was_queued_meanwhile_is_pushed_when_it_is_over() -> None:
    one = keep_house(2)
    kept = jobs.submit("echo").id
    broker.stop(sandbox.folder())
    assert one.turn() is not None
    missed = jobs.submit("echo").id
    world.start_broker()
    assert one.turn() is not None
    assert epochs() == (1, 0)
    assert set(listed()) == {str(kept), str(missed)}


def test_mirrors_after_a_loss_are_bounded_and_written_in_small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "FEW", 2)
    monkeypatch.setattr(rebuild, "MOST_MIRRORED", 4)
    monkeypatch.setattr(rebuild, "MIRROR_BYTES", 700)
    ids = [jobs.submit("echo", delay_s=600).id for _ in range(7)]
    keep_house(2)
    queue.broker().flushall()
    report = keep_house().turn()
    assert report is not None
    assert [mirror.peek(job_id) is not None for job_id in ids] == [False] * 3 + [True] * 4
