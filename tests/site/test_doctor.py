"""`doctor` sees what is missing, says how to mend it, and is a probe for machines too."""

from __future__ import annotations

import json

from jobs.doctor import PROBES


def findings(world, **environment: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = world.ask("doctor", "--json", **environment)
    by_probe: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        by_probe.setdefault(finding["probe"], []).append(finding)
    return done.returncode, by_probe


def test_without_a_worker_it_fails_and_says_how_to_start_one(world):
    code, found = findings(world)
    assert code == 1
    assert found["workers"][0]["level"] == "failure"
    assert "rqworker" in found["workers"][0]["fix"]
    assert [finding["level"] for finding in found["database"] + found["broker"] + found["clock"]] == ["ok"] * 3


def test_with_a_worker_for_every_queue_it_succeeds(world):
    world.worker()
    code, found = findings(world)
    assert (code, found["workers"][0]["level"]) == (0, "ok")


def test_a_queue_that_nobody_serves_is_named(world):
    world.worker("high", "default")
    code, found = findings(world)
    assert code == 1
    assert "low" in found["workers"][0]["sentence"]


def test_without_a_scheduler_it_fails_once_there_is_a_schedule_that_waits_for_one(world):
    world.worker()
    code, found = findings(world)
    assert (code, found["scheduler"][0]["level"]) == (0, "warning")
    assert world.run("schedules", "set", "hourly", "--type", "echo", "--every", "3600")[0] == 0
    code, found = findings(world)
    assert (code, found["scheduler"][0]["level"]) == (1, "failure")
    assert "rqscheduler" in found["scheduler"][0]["fix"]
    assert world.run("schedules", "pause", "hourly")[0] == 0
    assert findings(world)[0] == 0


def test_redis_down_is_visible(world):
    world.kill_broker()
    code, found = findings(world)
    assert code == 1
    assert found["broker"][0]["level"] == "failure"
    assert "broker start" in found["broker"][0]["fix"]


def test_a_broken_setting_is_named_and_the_other_probes_go_on(world):
    code, found = findings(world, JOBS_LEASE_S="soon")
    assert code == 1
    assert "JOBS_LEASE_S" in found["settings"][0]["sentence"]
    assert found["database"][0]["level"] == "ok"


def test_for_people_it_is_one_line_a_finding(world):
    code, output = world.run("doctor")
    lines = [line for line in output.splitlines() if line.startswith(("ok", "warn", "FAIL"))]
    assert code == 1
    assert len(lines) == len(PROBES)
    assert "FAIL workers [no-worker]: no worker runs -> start one: python manage.py rqworker" in lines


def test_without_its_database_it_ends_soon_and_leaves_out_what_would_wait_for_it_again(world):
    code, found = findings(world, DATABASE_URL="postgres://nobody@127.0.0.1:1/nothing")
    assert code == 1
    assert found["database"][0]["name"] == "database-unreachable"
    assert "DATABASE_URL" in found["database"][0]["fix"]
    assert "workers" not in found
    assert found["broker"][0]["level"] == "ok"
