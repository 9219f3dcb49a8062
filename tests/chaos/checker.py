"""The checker: after a fault run it compares database, events, mirror, history and ledgers, from outside.

Each law I1 to I12 is one function here, and each further one in `promises.py`, over the evidence; what it yields are violations, in words.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from django.db import connection

from jobs import mirror
from jobs.lifecycle import FINAL, TRANSITIONS
from jobs.models import Event, IdempotencyKey, Job
from jobs.models.clock import parse
from tests.chaos import faults, hostile_faults, promises
from tests.chaos.handlers import TABLE
from tests.chaos.history import History
from tests.chaos.site import CLIENT, SCHEDULE, SCHEDULE_S, Site

AFTERMATH_S = 6.0
"""Seconds after a fault in which its consequences may still be heard of: retries, locks, restarts."""

OVERLAP_S = 0.3
"""A beat may be written a moment after it was begun."""

REPAIR_S = 2.0
SLACK = 2.0
"""The bounds are for a quiet machine; a fault run keeps it busy."""

RECOVERY_S = 30.0
SAMPLE = 300

PERMANENT = frozenset({"effect-in-transaction"})
"""Codes of errors that no further attempt would mend."""


@dataclass
class Evidence:
    site: Site
    history: History
    jobs: dict[str, Job] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    effects: Counter[str] = field(default_factory=Counter)
    """Lines of the ledger, by job."""

    effect_keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: Counter[str] = field(default_factory=Counter)
    """Rows of transactional effects, by job."""

    runs: dict[str, list[tuple[int, str, float]]] = field(default_factory=lambda: defaultdict(list))
    """(attempt, what, when), by job, as written."""

    windows: list[tuple[str, float, float]] = field(default_factory=list)
    """(fault, from, to)."""

    def during(self, kinds: frozenset[str], at: float, until: float | None = None) -> bool:
        until = at if until is None else until
        return any(kind in kinds and start <= until and at <= end for kind, start, end in self.windows)

    def story(self, job_id: str) -> str:
        return " ".join(f"{event.event}@{event.attempt}" for event in self.events[job_id])


def gather(site: Site, history: History) -> Evidence:
    found = Evidence(site, history)
    found.jobs = {str(job.id): job for job in Job.objects.all()}
    for event in Event.objects.order_by("id").iterator():
        found.events[str(event.job_id)].append(event)
    for line in site.lines("effects.log"):
        found.effects[line[0]] += 1
        found.effect_keys[line[0]].add(line[4])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT job_id, count(*) FROM {TABLE} GROUP BY job_id")
        found.rows = Counter(dict(cursor.fetchall()))
    for job_id, attempt, _, what, at in site.lines("runs.log"):
        found.runs[job_id].append((int(attempt), what, float(at)))
    begun: dict[str, tuple[str, float]] = {}
    for entry in history.entries:
        if entry["kind"] == "break":
            begun[entry["number"]] = (entry["fault"], entry["at"])
        elif entry["kind"] == "heal" and entry["number"] in begun:
            kind, start = begun[entry["number"]]
            found.windows.append((kind, start - 1, entry["at"] + AFTERMATH_S))
    return found


def policy_of(job: Job) -> str:
    payload: dict[str, Any] = job.payload if isinstance(job.payload, dict) else {}
    if job.type == "echo":
        return str(payload.get("onDoubt", "hold")) if payload.get("effect") else ""
    if job.type in ("chaos-flip", "chaos-refused"):
        return "hold"
    return str(payload.get("effect", "")) if job.type == "chaos" else ""


# --- the laws -----------------------------------------------------------------------------------------


def answers(found: Evidence) -> Iterator[tuple[str | None, str]]:
    """(key, job id) of everything that was accepted."""
    for entry in found.history.of("ok"):
        if entry["op"] == "submit":
            yield entry["key"], entry["id"]
        yield from entry.get("accepted", ())


def nothing_is_lost(found: Evidence) -> Iterator[str]:
    for key, job_id in answers(found):
        if job_id not in found.jobs:
            yield f"the accepted job {job_id} ({key}) is not there"
    for job_id, job in found.jobs.items():
        if job.status not in (*FINAL, "in_doubt"):
            yield f"job {job_id} is still {job.status}: {found.story(job_id)}"


def a_key_is_one_job(found: Evidence) -> Iterator[str]:
    by_key: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job_id, job in found.jobs.items():
        if job.key is not None:
            by_key[job.client, job.key].add(job_id)
    for key, job_id in answers(found):
        if key is not None:
            by_key[CLIENT, key].add(job_id)
    for job_key, ids in by_key.items():
        if len(ids) > 1:
            yield f"the key {job_key} has {len(ids)} jobs: {sorted(ids)}"
    for client, key, job_id in IdempotencyKey.objects.values_list("client", "key", "job_id"):
        if by_key.get((client, key)) != {str(job_id)}:
            yield f"the key {client}/{key} names {job_id}, the jobs say {by_key.get((client, key))}"


def effects_happen_once(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        policy, lines, rows = policy_of(job), found.effects[job_id], found.rows[job_id]
        if policy in ("hold", "skip") and lines > 1:
            yield f"the effect ({policy}) of {job_id} happened {lines} times: {found.story(job_id)}"
        if len(found.effect_keys[job_id]) > 1:
            yield f"the effect of {job_id} happened under {found.effect_keys[job_id]}"
        if rows > 1 or (policy == "transactional" and job.status == "succeeded" and rows != 1):
            yield f"the transactional effect of {job_id} has {rows} rows"


def success_has_its_effect(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        if job.status == "succeeded" and policy_of(job) in ("hold", "repeat") and not found.effects[job_id]:
            yield f"job {job_id} succeeded without its effect ({policy_of(job)}): {found.story(job_id)}"
        if job.status == "in_doubt" and policy_of(job) != "hold":
            yield f"job {job_id} is in doubt, though its effect is {policy_of(job) or 'none'}"


def no_effect_without_a_job(found: Evidence) -> Iterator[str]:
    for job_id in {*found.effects, *found.rows, *found.runs} - set(found.jobs):
        yield f"something ran for {job_id}, and there is no such job"


def only_legal_transitions(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        status, attempt, is_legal = None, 0, True
        for event in found.events[job_id]:
            transition = TRANSITIONS.get(event.event)  # type: ignore[call-overload]
            attempt += event.event == "start"
            is_legal &= event.source == status and event.attempt == attempt
            if transition is not None:
                is_legal &= status in transition.sources and event.target == transition.target
                is_legal &= event.actor in transition.actors
            status = event.target
        if not is_legal or job.status != status or job.attempt != attempt:
            yield f"job {job_id} ({job.status}, attempt {job.attempt}) has no legal life: {found.story(job_id)}"


def no_zombie_counts(found: Evidence) -> Iterator[str]:
    for entry in found.history.of("outlived"):
        yield f"a stopped {entry['what']} (process {entry['pid']}) outlived its lease"
    for job_id, job in found.jobs.items():
        result: Any = job.result
        if job.status == "succeeded" and isinstance(result, dict) and result.get("attempt") not in (None, job.attempt):
            yield f"job {job_id} has the result of attempt {result['attempt']}, in attempt {job.attempt}"
    suspicion = frozenset({"suspect wrongly"})
    for job_id, lines in found.runs.items():
        begun: dict[int, float] = {}
        for attempt, what, at in lines:
            if what == "begin":
                if attempt in begun:
                    yield f"attempt {attempt} of {job_id} began twice"
                begun[attempt] = at
        for attempt, what, at in lines:
            later = [start for number, start in begun.items() if number > attempt]
            if later and at > min(later) + OVERLAP_S and not found.during(suspicion, at):
                yield f"attempt {attempt} of {job_id} went on ({what}) {at - min(later):.2f} s into a later one"
                break


def a_slot_is_one_job(found: Evidence) -> Iterator[str]:
    prefix = f"schedule:{SCHEDULE}:"
    slots = sorted(
        parse(job.key.removeprefix(prefix)) for job in found.jobs.values() if job.key and job.key.startswith(prefix)
    )  # type: ignore[type-var]
    for before, after in pairwise(slots):
        assert before is not None
        assert after is not None
        if (after - before).total_seconds() != SCHEDULE_S:
            yield f"between the slots {before} and {after} there is a gap, or none"
    if not slots:
        yield "the schedule made no job"


def the_mirror_is_true(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        entry = mirror.peek(uuid.UUID(job_id))
        if entry is not None and entry.is_fresh and entry.status["status"] != job.status:
            yield f"the mirror of {job_id} says {entry.status['status']}, the database {job.status}"
    for job_id in list(found.jobs)[-SAMPLE:]:
        reply = found.site.call("GET", f"/api/jobs/{job_id}/status")
        if reply.status != 200 or reply.json()["status"] != found.jobs[job_id].status:
            yield f"the status of {job_id} is answered by {reply.status} {reply.body[:200]!r}"


def errors_are_excused(found: Evidence) -> Iterator[str]:
    excuses = (
        faults.DATABASE_AWAY
        | hostile_faults.DATABASE_HELD
        | (faults.STOPS if found.site.database == "sqlite" else frozenset())
    )
    allowed = {"conflict": {422}, "cancel": {409}, "retry": {409}}
    for entry in [*found.history.of("fail"), *found.history.of("ok")]:
        op, status = entry["op"], entry["status"]
        if status == 503:
            if not found.during(excuses, entry["began"], entry["at"]):
                yield f"{op} at {entry['at']:.1f} was answered by 503, though the database could commit"
        elif status >= 400 and status not in allowed.get(op, ()):
            yield f"{op} {entry['key']} at {entry['at']:.1f} was answered by {status}"
        elif status < 400 and op == "conflict":
            yield f"another request under the key {entry['key']} was answered by {status}"


def budgets_hold(found: Evidence) -> Iterator[str]:
    for job_id, job in found.jobs.items():
        if job.failures > job.failures_allowed or job.crashes > job.crashes_allowed:
            yield f"job {job_id} has {job.failures} failures and {job.crashes} crashes"
        is_final = job.error_code in PERMANENT
        if (
            job.status == "failed"
            and not is_final
            and job.failures < job.failures_allowed
            and job.crashes < job.crashes_allowed
        ):
            yield f"job {job_id} failed with allowances left: {job.error_code} {found.story(job_id)}"


def recovery_is_in_time(found: Evidence) -> Iterator[str]:
    for kind in ("not recovered", "not repaired"):
        for entry in found.history.of(kind):
            yield f"{kind} after {entry['fault']}"
    for entry in found.history.of("recovered"):
        if entry["alone"] and entry["took"] > RECOVERY_S:
            yield f"after {entry['fault']} a new job took {entry['took']} s"
    for entry in found.history.of("repaired"):
        if entry["took"] > REPAIR_S * SLACK:
            yield f"after {entry['fault']} jobs stayed running for {entry['took']} s"


LAWS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "I1": nothing_is_lost,
    "I2": a_key_is_one_job,
    "I3": effects_happen_once,
    "I4": success_has_its_effect,
    "I5": no_effect_without_a_job,
    "I6": only_legal_transitions,
    "I7": no_zombie_counts,
    "I8": a_slot_is_one_job,
    "I9": the_mirror_is_true,
    "I10": errors_are_excused,
    "I11": budgets_hold,
    "I12": recovery_is_in_time,
    **promises.LAWS,
}


def violations(found: Evidence) -> list[tuple[str, str]]:
    """(law, what broke it)."""
    return [(name, words) for name, law in LAWS.items() for words in law(found)]
