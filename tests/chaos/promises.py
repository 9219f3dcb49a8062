"""The laws of hostile handlers and of neighbours, I13 to I23: each yields what breaks it, in words."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jobs.models import Effect, Job
from tests.chaos import hostile_faults
from tests.chaos.hostile import exits, refused
from tests.chaos.hostile.offspring import CHILDREN
from tests.chaos.hostile.worlds import WORLDS

if TYPE_CHECKING:
    from tests.chaos.checker import Evidence

OVERLAP_S = 0.5
"""A program may write a line in the moment in which it is ended."""

AFTER_END_S = 1.5
"""An attempt's programs are ended before its outcome is recorded, or shortly after the horse's death is noticed."""

HOLDERS_A_STRIKE = 4
SILENCE_S = 60.0
"""Longer than any fault keeps database or Redis away, or all housekeepers stopped."""

EARLY_S = 0.1
QUIET_COMMANDS = 40.0
"""Commands a second that Redis may be given while nothing happens: two workers, two schedulers, one API."""


def _payload(job: Job) -> dict[str, Any]:
    return job.payload if isinstance(job.payload, dict) else {}


def no_effect_in_a_transaction(found: Evidence) -> Iterator[str]:
    lines = {line[0] for line in found.site.lines(refused.REFUSED)}
    doubts = {
        str(job_id)
        for job_id in Effect.objects.exclude(status__in=("done", "not_done")).values_list("job_id", flat=True)
    }
    for job_id, job in found.jobs.items():
        if job.type == "chaos-refused":
            way = _payload(job)["way"]
            if job_id in lines:
                yield f"the effect of {job_id} began in an open transaction ({way})"
            if job.status != "failed" or job_id in doubts:
                yield f"job {job_id}, whose effect is to be refused ({way}), is {job.status}: {found.story(job_id)}"
        elif job.type == "chaos-rolled-back":
            is_done = Effect.objects.filter(job_id=job_id, status="done").exists()
            if is_done != (found.rows[job_id] == 1):
                yield f"the rolled-back effect of {job_id} is{'' if is_done else ' not'} done, with {found.rows[job_id]} rows"


def an_exit_is_a_crash(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        if job.type not in ("chaos-exits", "chaos-exits-apart"):
            continue
        way = _payload(job)["way"]
        if way in exits.HARD and (job.status, job.error_code, job.crashes) != (
            "failed",
            "crashed",
            job.crashes_allowed,
        ):
            yield f"job {job_id}, which ended its process each time ({way}), is {job.status} after {job.crashes} crashes: {found.story(job_id)}"
        if way not in exits.HARD and job.status not in ("succeeded", "failed"):
            yield f"job {job_id} ({way}) is {job.status}: {found.story(job_id)}"
    told = {int(line[1]) for line in found.site.lines(exits.TOLD)}
    for entry in found.history.of("ended"):
        if entry["code"] == 0 and entry["pid"] not in told:
            yield f"{entry['role']} ended by itself with exit code 0 at {entry['at']:.1f}"


def innocents_end_well(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        is_innocent = job.type in INNOCENT and not _payload(job).get("fail_times")
        if is_innocent and job.status == "failed":
            yield f"the innocent job {job_id} ({job.type}) failed: {job.error_code} {found.story(job_id)}"


INNOCENT = ("chaos", "chaos-world", "chaos-world-apart", "chaos-flip", "chaos-large")


def programs_end_with_their_attempt(found: Evidence) -> Iterator[str]:
    offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    written: dict[str, list[tuple[int, str, float]]] = defaultdict(list)
    for line in found.site.lines(CHILDREN):
        written[line[0]].append((int(line[1]), line[2], float(line[4])))
    for job_id, lines in written.items():
        job = found.jobs.get(job_id)
        if job is None or not _is_promised(job):
            continue
        begun = {attempt: at for attempt, what, at in found.runs[job_id] if what == "begin"}
        ended = None if job.finished_at is None else job.finished_at.timestamp() - offset
        for attempt, way, at in lines:
            later = [start for number, start in begun.items() if number > attempt]
            if later and at > min(later) + OVERLAP_S:
                yield _program(job, way, at - min(later), "into a later attempt", found)
                break
            if ended is not None and at > ended + AFTER_END_S:
                yield _program(job, way, at - ended, "after its job had ended", found)
                break


def _program(job: Job, way: str, seconds: float, when: str, found: Evidence) -> str:
    return (
        f"a program ({job.type}, {way}, {_payload(job)['ending']}) of {job.id} lived {seconds:.1f} s {when}:"
        f" {found.story(str(job.id))}"
    )


def _is_promised(job: Job) -> bool:
    """Whether guarantees.md promises it: of attempts in a process of their own, always."""
    return job.type == "chaos-offspring-apart"


def worlds_are_clean(found: Evidence) -> Iterator[str]:
    for job_id, attempt, what, *_ in found.site.lines(WORLDS):
        if what != "clean":
            yield f"attempt {attempt} of {job_id} ({found.jobs[job_id].type}) found its world spoilt: {what}"


def a_lock_delays_itself_only(found: Evidence) -> Iterator[str]:
    for entry in found.history.of("held up"):
        yield f"{entry['left']} other jobs did not end within {entry['seconds']:g} s of {entry['fault']}"


def no_crash_is_charged_for_a_lock(found: Evidence) -> Iterator[str]:
    for entry in found.history.of("spared"):
        for job_id in entry["charged"]:
            if found.during(hostile_faults.DATABASE_HELD, entry["at"]):
                yield f"job {job_id} was charged a crash for a lock: {found.story(job_id)}"


def redis_is_rebuilt_for_losses_only(found: Evidence) -> Iterator[str]:
    losses = sum(kind in hostile_faults.LOSSES for kind, _, _ in found.windows)
    changes = found.history.of("epoch")
    for entry in changes:
        if not found.during(hostile_faults.LOSSES | {"rival"}, entry["at"]):
            yield f"Redis was filled anew at {entry['at']:.1f} (epoch {entry['after']}), though it had lost nothing"
    raised = sum(entry["after"] - entry["before"] for entry in changes)
    if raised > losses + sum(kind == "rival" for kind, _, _ in found.windows):
        yield f"Redis was filled anew {raised} times, for {losses} losses"


def one_keeps_house_at_a_time(found: Evidence) -> Iterator[str]:
    """Another one takes over when the last one is gone: a strike may end several of them."""
    changes, strikes = len(found.history.of("holder")), len(found.history.of("break"))
    if changes > HOLDERS_A_STRIKE * (strikes + 1):
        yield f"the housekeeping went from one to another {changes} times in {strikes} faults"
    beats = [entry["at"] for entry in found.history.of("beat")]
    for before, after in pairwise(beats):
        if after - before > SILENCE_S:
            yield f"nobody kept house for {after - before:.0f} s, from {before:.1f} on"


def garbage_is_bounded(found: Evidence) -> Iterator[str]:
    for entry in found.history.of("not trimmed"):
        yield f"{entry['held']} ids stayed in the list of a paused queue, though they were no longer queued"
    from tests.chaos.garbage import MEMORY_MIB

    for entry in found.history.of("memory"):
        if entry["grown"] > MEMORY_MIB:
            yield f"the horse {entry['horse']} grew by {entry['grown']} MiB while Redis was away"
    for entry in found.history.of("quiet"):
        if entry["commands"] > QUIET_COMMANDS:
            yield f"Redis was given {entry['commands']:.0f} commands a second while nothing happened"


def nothing_starts_early(found: Evidence) -> Iterator[str]:
    offset = time.time() - time.monotonic()
    due = {entry["id"]: entry["wall"] for entry in found.history.of("due")}
    for entry in found.history.of("ok"):
        if "delay_s" in entry and entry["status"] == 202:
            due[entry["id"]] = entry["began"] + offset + entry["delay_s"]
    for job_id, at in due.items():
        for event in found.events[job_id]:
            if event.event == "start":
                if event.at.timestamp() < at - EARLY_S:
                    yield f"job {job_id} started {at - event.at.timestamp():.2f} s early"
                break


LAWS = {
    "I13": no_effect_in_a_transaction,
    "I14": an_exit_is_a_crash,
    "I15": innocents_end_well,
    "I16": programs_end_with_their_attempt,
    "I17": worlds_are_clean,
    "I18": a_lock_delays_itself_only,
    "I19": no_crash_is_charged_for_a_lock,
    "I20": redis_is_rebuilt_for_losses_only,
    "I21": one_keeps_house_at_a_time,
    "I22": garbage_is_bounded,
    "I23": nothing_starts_early,
}
