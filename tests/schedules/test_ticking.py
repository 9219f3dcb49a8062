"""What a tick creates, by policy, with a clock of the test's own."""

from __future__ import annotations

import datetime as dt
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from jobs import schedules
from jobs.lifecycle import Event as LifecycleEvent
from jobs.lifecycle import Status
from jobs.models import DroppedSlots, Event, IdempotencyKey, Job, Schedule
from jobs.schedules import tick

START = dt.datetime(2031, 11, 25, 3, 0, tzinfo=dt.UTC)  # in the future: jitter delays
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


def make(**columns: Any) -> Schedule:
    """A schedule that starts at START: every minute unless `columns` say otherwise."""
    wanted: dict[str, Any] = {"name": "beat", "type": "echo", "cron": "* * * * *", "pointer": START} | columns
    return Schedule.objects.create(**wanted)


def tick_at(now: dt.datetime, **options: Any) -> list[str]:
    """One tick of the schedule as it is stored; the keys of what it created."""
    created = tick(Schedule.objects.get(), now, **options)
    return [str(Job.objects.get(pk=job_id).key) for job_id in created]


@pytest.mark.django_db
def test_a_due_slot_gets_one_job_under_the_key_of_its_utc_instant() -> None:
    make(payload={"value": 7}, queue="low")
    assert tick_at(START + MINUTE) == ["schedule:beat:2031-11-25T03:01:00Z"]
    job = Job.objects.get()
    assert (job.client, job.source, job.type, job.payload, job.queue, job.status) == (
        "system:schedule", "schedule", "echo", {"value": 7}, "low", Status.QUEUED,
    )  # fmt: skip
    assert Event.objects.get().actor == "scheduler"
    assert Schedule.objects.get().last_job_id == job.id


@pytest.mark.django_db
def test_a_second_tick_in_the_same_minute_creates_nothing() -> None:
    make()
    assert len(tick_at(START + MINUTE)) == 1
    assert tick_at(START + MINUTE + dt.timedelta(seconds=1)) == []
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_a_new_schedule_starts_at_the_present() -> None:
    make(pointer=None, catch_up="all", created_at=START - HOUR)
    assert tick_at(START) == []
    assert Schedule.objects.get().pointer == START
    assert tick_at(START + MINUTE) == ["schedule:beat:2031-11-25T03:01:00Z"]


@pytest.mark.django_db
def test_a_paused_schedule_creates_nothing() -> None:
    schedule = make()
    Schedule.objects.update(enabled=False)
    assert tick(schedule, START + MINUTE) == []
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_tick_of_a_row_that_was_edited_meanwhile_does_nothing() -> None:
    stale = make()
    Schedule.objects.update(version=2)
    assert tick(stale, START + MINUTE) == []
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_clock_that_steps_back_creates_nothing_twice() -> None:
    make()
    assert len(tick_at(START + 2 * MINUTE)) == 1
    assert tick_at(START + MINUTE) == []
    assert len(tick_at(START + 3 * MINUTE)) == 1
    assert Job.objects.count() == 2


@pytest.mark.django_db
def test_a_key_that_exists_counts_as_done() -> None:
    make()
    tick_at(START + MINUTE)
    Schedule.objects.update(pointer=START, payload={"value": "changed"})
    assert tick_at(START + MINUTE) == []
    assert Job.objects.count() == IdempotencyKey.objects.count() == 1
    assert "refused" not in Schedule.objects.get().last_note


LATE = START + HOUR + dt.timedelta(seconds=30)
"""The scheduler was down since START: of 60 missed slots none is on time."""


@pytest.mark.django_db
def test_catch_up_none_makes_up_for_nothing_and_says_so() -> None:
    make(catch_up="none")
    assert tick_at(LATE) == []
    assert "60 missed slots were dropped" in Schedule.objects.get().last_note
    assert tick_at(LATE + dt.timedelta(seconds=30)) == ["schedule:beat:2031-11-25T04:01:00Z"]


@pytest.mark.django_db
def test_catch_up_last_makes_up_for_the_latest() -> None:
    make(catch_up="last")
    assert tick_at(LATE) == ["schedule:beat:2031-11-25T04:00:00Z"]
    assert "59 missed slots were dropped" in Schedule.objects.get().last_note


@pytest.mark.django_db
def test_catch_up_last_makes_up_for_none_when_a_slot_is_on_time() -> None:
    make(catch_up="last")
    assert tick_at(START + HOUR) == ["schedule:beat:2031-11-25T04:00:00Z"]


@pytest.mark.django_db
def test_catch_up_all_makes_up_for_every_one_in_order() -> None:
    make(catch_up="all")
    keys = tick_at(LATE)
    assert len(keys) == 60
    assert keys == sorted(keys)
    assert Schedule.objects.get().last_note == ""


@pytest.mark.django_db
def test_catch_up_all_stops_at_its_most_and_keeps_the_latest() -> None:
    make(catch_up="all", catch_up_max=10)
    keys = tick_at(LATE)
    assert (len(keys), keys[0]) == (10, "schedule:beat:2031-11-25T03:51:00Z")
    assert "50 missed slots" in Schedule.objects.get().last_note


@pytest.mark.django_db
def test_slots_beyond_the_window_are_dropped() -> None:
    make(catch_up="all", catch_up_window_s=600)
    assert len(tick_at(LATE)) == 10
    assert "600 s" in Schedule.objects.get().last_note


@pytest.mark.django_db
def test_an_intervals_slots_of_a_month_are_counted_without_a_walk() -> None:
    month = 31 * 24 * HOUR
    make(cron="", every_s=1, anchor=START, catch_up="all", catch_up_max=10, catch_up_window_s=31 * 86_400)
    keys = tick_at(START + month)
    on_time = 4  # three seconds, both ends included
    assert (len(keys), keys[-1]) == (10 + on_time, "schedule:beat:2031-12-26T03:00:00Z")
    assert dropped() == [("catch-up", 31 * 86_400 - len(keys))]
    drop = DroppedSlots.objects.get()
    assert (drop.first, drop.last) == (START + dt.timedelta(seconds=1), START + month - dt.timedelta(seconds=14))


@pytest.mark.django_db
def test_an_interval_that_ended_in_a_long_gap_is_made_up_for_up_to_its_end() -> None:
    end = START + 20 * HOUR
    make(cron="", every_s=1, anchor=START, catch_up="all", catch_up_max=2, ends_at=end)
    assert [key[-10:] for key in tick_at(START + 23 * HOUR)] == ["T22:59:59Z", "T23:00:00Z"]
    assert dropped() == [("catch-up", 20 * 3600 - 2)]
    assert Schedule.objects.get().pointer == end


@pytest.mark.django_db
def test_a_rare_slot_beyond_the_window_is_not_forgotten_silently() -> None:
    make(cron="0 0 1 1 *", pointer=START, catch_up_window_s=600)
    assert tick_at(dt.datetime(2032, 2, 1, tzinfo=dt.UTC)) == []
    assert "600 s" in Schedule.objects.get().last_note
    assert tick_at(dt.datetime(2033, 1, 1, tzinfo=dt.UTC)) == ["schedule:beat:2033-01-01T00:00:00Z"]


@pytest.mark.django_db
def test_slots_between_two_ticks_far_apart_are_all_on_time() -> None:
    make(cron="", every_s=5, anchor=START, catch_up="none")
    assert len(tick_at(START + MINUTE, interval_s=60)) == 12


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["scheduled", "queued", "in_doubt"])
def test_overlap_skip_creates_nothing_while_the_last_job_is_open(status: str) -> None:
    make(overlap="skip")
    tick_at(START + MINUTE)
    Job.objects.update(status=status)
    assert tick_at(START + 2 * MINUTE) == []
    assert "skipped" in Schedule.objects.get().last_note
    Job.objects.update(status=Status.SUCCEEDED, finished_at=START)
    assert tick_at(START + 3 * MINUTE) == ["schedule:beat:2031-11-25T03:03:00Z"]


@pytest.mark.django_db
def test_overlap_cancel_cancels_the_last_job_and_creates_the_next() -> None:
    make(overlap="cancel")
    tick_at(START + MINUTE)
    first = Job.objects.get()
    assert len(tick_at(START + 2 * MINUTE)) == 1
    first.refresh_from_db()
    assert first.status == Status.CANCELLED
    event = Event.objects.get(job=first, event=LifecycleEvent.CANCEL)
    assert (event.actor, event.who) == ("scheduler", "schedule beat")


@pytest.mark.django_db
def test_overlap_cancel_asks_a_running_attempt_to_stop() -> None:
    make(overlap="cancel")
    tick_at(START + MINUTE)
    first = Job.objects.get()
    Job.objects.update(status=Status.RUNNING, lease_id=first.id, attempt=1)
    assert len(tick_at(START + 2 * MINUTE)) == 1
    first.refresh_from_db()
    assert (first.status, first.cancel_requested_by) == (Status.RUNNING, "schedule beat")


@pytest.mark.django_db
def test_overlap_allow_creates_beside_an_open_job() -> None:
    make()
    tick_at(START + MINUTE)
    assert len(tick_at(START + 2 * MINUTE)) == 1


def end_all_jobs(status: str = "succeeded") -> None:
    Job.objects.update(status=status, finished_at=START)


def dropped() -> list[tuple[str, int | None]]:
    """Why and how many, the oldest first."""
    return list(DroppedSlots.objects.order_by("id").values_list("because", "count"))


@pytest.mark.django_db
def test_overlap_buffer_keeps_the_first_slot_until_the_last_job_is_over() -> None:
    make(overlap="buffer")
    assert len(tick_at(START + MINUTE)) == 1
    assert tick_at(START + 2 * MINUTE) == []
    assert tick_at(START + 3 * MINUTE) == []
    assert Schedule.objects.get().buffered_slot == START + 2 * MINUTE
    assert dropped() == [("overlap", 1)]
    end_all_jobs()
    assert tick_at(START + 3 * MINUTE + dt.timedelta(seconds=5)) == ["schedule:beat:2031-11-25T03:02:00Z"]
    assert Schedule.objects.get().buffered_slot is None
    assert tick_at(START + 3 * MINUTE + dt.timedelta(seconds=6)) == []


@pytest.mark.django_db
def test_slots_lie_between_start_and_end_and_both_count() -> None:
    make(catch_up="all", starts_at=START + 2 * MINUTE, ends_at=START + 4 * MINUTE)
    assert [key[-10:] for key in tick_at(START + HOUR)] == ["T03:02:00Z", "T03:03:00Z", "T03:04:00Z"]


@pytest.mark.django_db
def test_a_schedule_is_paused_after_failures_in_a_row_and_resumed_with_none_counted() -> None:
    make(pause_after_failures=2)
    for minute in (1, 2):
        assert len(tick_at(START + minute * MINUTE)) == 1
        end_all_jobs("failed")
    assert tick_at(START + 3 * MINUTE) == []
    paused = Schedule.objects.get()
    assert (paused.enabled, paused.paused_because) == (False, "2 of its jobs have failed in a row")
    assert dropped() == [("paused", 1)]
    schedules.resume("beat", who="alice")
    Schedule.objects.update(pointer=START + 3 * MINUTE, streak_since=START + 3 * MINUTE)
    assert len(tick_at(START + 4 * MINUTE)) == 1


@pytest.mark.django_db
def test_a_success_ends_a_row_of_failures_and_a_cancelled_job_does_not() -> None:
    make(pause_after_failures=2)
    for minute, status in enumerate(("failed", "succeeded", "failed", "cancelled"), start=1):
        (key,) = tick_at(START + minute * MINUTE)
        Job.objects.filter(key=key).update(status=status, finished_at=START)
    (key,) = tick_at(START + 5 * MINUTE)
    Job.objects.filter(key=key).update(status="failed", finished_at=START)
    assert tick_at(START + 6 * MINUTE) == []


THREE_HOURS = START + 3 * HOUR + dt.timedelta(seconds=30)
"""A scheduler that was stopped for three hours: of 36 slots, every five minutes, none is on time."""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("columns", "made", "why"),
    [
        ({"catch_up": "none"}, 0, [("catch-up", 36)]),
        ({"catch_up": "last"}, 1, [("catch-up", 35)]),
        ({"catch_up": "all"}, 36, []),
        ({"catch_up": "all", "catch_up_max": 10}, 10, [("catch-up", 26)]),
        ({"catch_up": "all", "catch_up_window_s": 3600}, 12, [("window", 24)]),
        ({"catch_up": "all", "overlap": "skip"}, 1, [("superseded", 35)]),
        ({"catch_up": "all", "overlap": "cancel"}, 1, [("superseded", 35)]),
        ({"catch_up": "all", "overlap": "buffer"}, 1, [("overlap", 34)]),
    ],
)
def test_after_three_hours_each_slot_is_made_up_for_or_recorded_as_dropped(
    columns: dict[str, Any], made: int, why: list[tuple[str, int]]
) -> None:
    make(cron="*/5 * * * *", **columns)
    assert len(tick_at(THREE_HOURS)) == made
    assert dropped() == why
    is_one_waiting = Schedule.objects.get().buffered_slot is not None
    assert made + sum(count for _, count in why) + is_one_waiting == 36


@pytest.mark.django_db
def test_a_schedule_remembers_how_late_its_latest_slots_were() -> None:
    make()
    tick_at(START + MINUTE + dt.timedelta(seconds=1.5))
    job = Job.objects.get()
    assert Schedule.objects.get().recent == [["2031-11-25T03:01:00Z", str(job.id), 1.5]]


@pytest.mark.django_db
def test_a_system_job_by_command_and_a_slots_job_come_through_one_door() -> None:
    """Their keys meet in one table, their rows say where they come from, and a known key is a replay for both."""
    make(payload={"value": 1})
    (key,) = tick_at(START + MINUTE)
    call_command("enqueue_system_job", "echo", "--payload", '{"value": 1}', "--key", "by-hand", stdout=StringIO())
    call_command("enqueue_system_job", "echo", "--payload", '{"value": 1}', "--key", "by-hand", stdout=StringIO())
    Schedule.objects.update(pointer=START)
    assert tick_at(START + MINUTE) == []
    assert list(IdempotencyKey.objects.order_by("id").values_list("client", "key")) == [
        ("system:schedule", key),
        ("system", "by-hand"),
    ]
    by_slot, by_command = Job.objects.order_by("id")
    assert (by_slot.source, by_command.source) == ("schedule", "command")
    for column in ("type", "payload", "queue", "max_attempts", "timeout_s", "crashes_allowed"):
        assert getattr(by_slot, column) == getattr(by_command, column)


@pytest.mark.django_db
def test_jitter_delays_a_slot_the_same_on_every_scheduler() -> None:
    make(jitter_s=30)
    tick_at(START + MINUTE)
    first = Job.objects.get()
    assert first.status == Status.SCHEDULED
    assert first.run_after is not None
    assert START + MINUTE <= first.run_after <= START + MINUTE + dt.timedelta(seconds=30)
    Job.objects.all().delete()
    IdempotencyKey.objects.all().delete()
    Schedule.objects.update(pointer=START)
    tick_at(START + MINUTE)
    assert Job.objects.get().run_after == first.run_after


@pytest.mark.django_db
def test_a_slot_whose_job_is_refused_is_noted_and_the_schedule_goes_on() -> None:
    make(type="gone-type")
    assert tick_at(START + MINUTE) == []
    assert "refused" in Schedule.objects.get().last_note
    Schedule.objects.update(type="echo")
    assert len(tick_at(START + 2 * MINUTE)) == 1


@pytest.mark.django_db
def test_a_schedule_that_makes_no_sense_does_not_stop_the_others() -> None:
    long_ago = dt.datetime.now(dt.UTC) - HOUR
    Schedule.objects.create(name="a-broken", type="echo", cron="nonsense", pointer=long_ago)
    Schedule.objects.create(name="b-fine", type="echo", cron="* * * * *", pointer=long_ago)
    assert schedules.Ticker(1).turn() == 1


@pytest.mark.django_db(transaction=True)
def test_a_row_that_breaks_the_tick_of_many_is_found_and_put_off() -> None:
    now = dt.datetime.now(dt.UTC)
    long_ago = now - HOUR
    for i in range(7):
        Schedule.objects.create(name=f"fine-{i}", type="echo", cron="* * * * *", pointer=long_ago)
    Schedule.objects.filter(name="fine-3").update(name="broken", recent=5)
    assert schedules.Ticker(1, now=lambda: now).turn() == 6
    broken = Schedule.objects.get(name="broken")
    assert broken.pointer == long_ago
    assert broken.due_at is not None
    assert broken.due_at > now
    assert schedules.Ticker(1, now=lambda: now).turn() == 0


@pytest.mark.django_db(transaction=True)
def test_schedulers_that_tick_at_once_create_each_slot_once() -> None:
    make(catch_up="all")
    stale = Schedule.objects.get()
    barrier = threading.Barrier(6)
    created: list[int] = []
    failures: list[BaseException] = []

    def one() -> None:
        try:
            barrier.wait()
            created.append(len(tick(stale, START + 10 * MINUTE)))
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(created) == [0, 0, 0, 0, 0, 10]
    assert Job.objects.count() == IdempotencyKey.objects.count() == Event.objects.count() == 10
    assert Schedule.objects.get().pointer == START + 10 * MINUTE
