"""What the system asks of the database often, by the code that does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.contrib.auth.models import User
from django.test import Client

import jobs
from jobs import leases, mirror, operate, polls, stats, transitions, why
from jobs.commit import Recorder
from jobs.envelope import parse
from jobs.keys import known_keys, note_replays
from jobs.lifecycle import Actor, Budget, End
from jobs.models import Job, Lease
from jobs.prune import prune
from jobs.reconcile import Housekeeper
from jobs.schedules.due import due_ids
from jobs.transitions import Ended
from jobs.work import Work
from tests.support.callers import Caller
from tests.support.crowd import OLD, Crowd

GROUP = 10
"""Jobs that are claimed or ended at once."""

LISTS = {
    "all": "",
    "status": "status=succeeded",
    "rare status": "status=cancelled",
    "type": "type=echo",
    "rare type": "type=health-check",
    "queue": "queue=default",
    "tag": "tag=blue",
    "rare tag": "tag=rare",
    "key": "key=order-200",
    "status and type": "status=failed&type=echo",
    "status and queue": "status=queued&queue=default",
    "later than": "createdAfter={late}",
    "earlier than": "createdBefore={early}",
    "between": "createdAfter={early}&createdBefore={late}",
}

ADMIN = {
    "first page": "job/",
    "next page": "job/?before={middle}",
    "previous page": "job/?after={middle}",
    "status": "job/?status=succeeded",
    "rare status": "job/?status=cancelled",
    "type": "job/?type=echo",
    "rare type": "job/?type=health-check",
    "client": "job/?client=alice",
    "rare client": "job/?client=carol",
    "queue": "job/?queue=default",
    "source": "job/?source=api",
    "created": "job/?created=day",
    "search for an id": "job/?q={middle}",
    "search for a key": "job/?q=order-200",
    "search for the beginning of a key": "job/?q=order-20",
    "search for a type": "job/?q=echo",
    "search for a tag": "job/?q=tag:blue",
    "search for a rare tag": "job/?q=rare",
    "job": "job/{middle}/change/",
    "keys": "idempotencykey/",
    "search for a key among keys": "idempotencykey/?q=order-200",
    "effects": "effect/",
    "effects in doubt": "effect/?status=in_doubt",
    "workers": "lease/?state=live",
    "schedules": "schedule/",
}


def questions(crowd: Crowd) -> dict[str, Callable[[], object]]:
    """By name; each leaves everything as it was when its transaction is rolled back."""
    facts = {
        "middle": crowd.ids[crowd.size // 2 + 5],
        "early": quote(crowd.created_at(crowd.size // 4).isoformat()),
        "late": quote(crowd.created_at(crowd.size // 2).isoformat()),
    }
    alice, carol, all_seeing = Caller("alice"), Caller("carol"), Caller("root", ["jobs:read", "jobs:all"])
    browser = Client()
    browser.force_login(User.objects.create_superuser("staff", "staff@example.com", "password"))
    found = {**_work(crowd), **_upkeep(crowd)}
    for name, query in LISTS.items():
        for caller in (alice, all_seeing):
            found[f"list, {name}, for {caller.name}"] = _get(caller, f"/api/jobs?{query.format(**facts)}")
    found["list, all, for carol, who has few"] = _get(carol, "/api/jobs")
    found["everything about a job"] = _get(all_seeing, f"/api/jobs/{facts['middle']}")
    found["statistics of an hour"] = _get(alice, "/api/stats")
    for name, path in ADMIN.items():
        found[f"admin, {name}"] = _get(browser, f"/admin/jobs/{path.format(**facts)}")
    return found


def _get(caller: Caller | Client, path: str) -> Callable[[], object]:
    def ask() -> None:
        answer: Any = caller.get(path)
        assert answer.status_code == 200, (path, answer.status_code)

    return ask


def _work(crowd: Crowd) -> dict[str, Callable[[], object]]:
    recorder = Recorder(crowd.lease.id, "busy")
    hurried = crowd.some("queued", GROUP)
    finished = crowd.ids[crowd.size // 2 + 5]

    def end() -> None:
        rows = transitions.running_of(crowd.lease.id)[: 2 * GROUP]
        ended = [
            Ended(
                row.id,
                row.attempt,
                crowd.lease.id,
                End.RETURNED,
                Budget(0, 5, 0, 3),
                result='{"done":true}',
                claimed=row,
            )
            for row in rows[:GROUP]
        ]
        ended += [Ended(row.id, row.version, crowd.lease.id, End.RAISED, Budget(0, 5, 0, 3)) for row in rows[GROUP:]]
        moved = transitions.end_attempts(ended, actor=Actor.WORKER, who="busy")
        assert len(moved) == 2 * GROUP
        stats.add([(row, row, 0.1) for row in moved], "busy")

    def claim() -> None:
        assert len(transitions.claim(hurried, lease_id=crowd.lease.id, worker="busy")) == GROUP

    def submit(number: int) -> Callable[[], object]:
        return lambda: jobs.submit("echo", {"value": "x"}, key=f"new-{number}", tags=["blue"], client="alice")

    def replay() -> None:
        known = crowd.ids[200]
        row = Job.objects.get(pk=known)
        request = parse({"type": "echo", "idempotencyKey": row.key}, client=row.client, source="api")
        assert known_keys([(request.client, request.key or "")])
        note_replays([(request.client, request.key or "")])

    return {
        "submit": submit(1),
        "look a key up": replay,
        "claim": claim,
        "end": end,
        "look for cancel requests": lambda: recorder.commit(Work([], [], [], True, {})),
        "oldest queued": lambda: polls.oldest_queued(("high", "default", "low"), GROUP),
        "status": lambda: mirror.rows_of([finished]),
        "hard limits": lambda: leases.HardLimits(crowd.lease.id).passed(set),
        "renew": lambda: leases.renew(crowd.lease.id, 10),
        "cancel": lambda: operate.cancel(hurried[0], actor=Actor.CLIENT, who="alice"),
        "why it waits": lambda: why.waiting(Job.objects.get(pk=crowd.ids[400])),
    }


def _upkeep(crowd: Crowd) -> dict[str, Callable[[], object]]:
    housekeeper = Housekeeper("plans")

    def keep_house() -> None:
        report = housekeeper.turn(is_forced=True)
        assert report is not None
        assert (report.promoted, report.repushed) == (GROUP, 0), report

    def end_lease() -> None:
        lease = Lease.objects.get(pk=crowd.lease.id)
        assert leases.end_lease(lease.pk, leases.released, actor=Actor.HOUSEKEEPING, who="plans")

    def prune_all() -> None:
        assert prune(crowd.now).jobs == OLD

    def tick() -> None:
        assert due_ids(crowd.now) == []

    return {"housekeeping": keep_house, "end a lease": end_lease, "prune": prune_all, "tick": tick}
