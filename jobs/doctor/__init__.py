"""`doctor` tries the work: it does what a worker does against database and Redis, and names finding and fix.

What it writes it takes back, in the transaction that wrote it. A probe that fails says so itself; none keeps the others
from running, but those that need what does not answer are left out: each would wait for it once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from django.db import DatabaseError, InterfaceError
from pydantic import ValidationError
from redis.exceptions import RedisError

from jobs.doctor import broker, database, surroundings, timetable, work
from jobs.doctor.findings import Finding, broker_fix, database_setting, failure, first_line

__all__ = ["PROBES", "Finding", "run_all"]


@dataclass(frozen=True)
class Probe:
    name: str
    look: Callable[[], Iterator[Finding]]
    needs: frozenset[str] = frozenset()
    """Probes without which it would only wait."""


DATABASE, BROKER = frozenset(["database"]), frozenset(["broker"])

PROBES = (
    Probe("settings", surroundings.project),
    Probe("disk", surroundings.disk),
    Probe("database", database.probe),
    Probe("broker", broker.probe),
    Probe("owner", work.owner, DATABASE | BROKER),
    Probe("workers", work.workers, DATABASE),
    Probe("housekeeping", work.housekeeping, DATABASE),
    Probe("scheduler", timetable.scheduler, DATABASE | BROKER),
    Probe("schedules", timetable.rows, DATABASE),
    Probe("clock", surroundings.clocks, DATABASE),
    Probe("effects", work.effects, DATABASE),
    Probe("mail", surroundings.mails),
    Probe("static", surroundings.static_files),
)

AWAY = frozenset(["database-unreachable", "migrations-missing", "redis-unreachable", "redis-login", "redis-loading"])
"""Findings after which what needs the probe is left out."""


def run_all() -> list[Finding]:
    findings: list[Finding] = []
    away: set[str] = set()
    for probe in PROBES:
        if probe.needs & away:
            continue
        found = [replace(finding, probe=probe.name) for finding in _guarded(probe)]
        if any(finding.name in AWAY for finding in found):
            away.add(probe.name)
        findings += found
    return findings


def _guarded(probe: Probe) -> list[Finding]:
    try:
        return list(probe.look())
    except ValidationError:
        return [failure("not-tried", "cannot be tried", "mend the settings first")]
    except (DatabaseError, InterfaceError) as error:
        fix = f"look at {database_setting()} and at the database server"
        return [failure("database-unreachable", f"the database does not answer: {first_line(error)}", fix)]
    except RedisError as error:
        return [failure("redis-unreachable", f"Redis does not answer: {first_line(error)}", broker_fix())]
    except Exception as error:
        said = f"the probe itself failed: {type(error).__name__}: {first_line(error)}"
        return [failure("probe-failed", said, "this is a defect of doctor: please report the line")]
