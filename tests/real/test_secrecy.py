"""What a job carries stands in no log: payloads, results, errors' words, log lines, keys of effects' results."""

from __future__ import annotations

import jobs
from jobs import operate
from jobs.lifecycle import Actor
from tests.real.watching import echo, reached, submit
from tests.support.world import World

MARKER = "only-for-the-recipient"


def test_neither_payload_nor_result_nor_error_stands_in_any_log(world: World) -> None:
    ids = [
        echo(value=MARKER),
        echo(value=MARKER, effect="charge", progressSteps=3),
        jobs.submit("echo", {"value": MARKER, "permanent": True}).id,
        submit("test-error", kind="payload", secret=MARKER),
        submit("test-steps", gate="/dev/null", secret=MARKER),
        submit("test-result", kind="nul", secret=MARKER),
        submit("test-isolated", secret=MARKER),
    ]
    cancelled = echo(value=MARKER, sleepSeconds=60)
    worker = world.worker("-v", "2")
    stock = world.manage("rqworker", "high", "default", "low", "--worker-class", "rq.worker.Worker", "--burst")
    for job_id in ids:
        reached(job_id, "succeeded", "failed", timeout_s=30)
    # Alone: it takes its horse with it, and a half-done effect beside it would be in doubt.
    crashing = jobs.submit("echo", {"value": MARKER, "crashTimes": 1})
    reached(crashing.id, "succeeded", timeout_s=30)
    reached(cancelled, "running")
    operate.cancel(cancelled, actor=Actor.CLIENT, who="alice")
    reached(cancelled, "cancelled")
    stock.wait(100)
    worker.stop()
    said = "".join(process.log for process in world.processes)
    assert str(ids[0]) in said
    assert MARKER not in said
