"""Running jobs: those of a lease, those that still have their fence, those whose rows somebody else has locked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from jobs.rows import Row, columns, fetch
from jobs.sql import as_list, as_table, db_id, for_update, in_ids, is_postgresql, py_id, run, table
from jobs.transitions.ended import FENCE_COLUMNS, Ended, is_of_claim


def running_of(lease_id: uuid.UUID) -> list[Row]:
    """The running jobs of a lease, locked; on PostgreSQL those that others have locked are left out."""
    return fetch(
        f"SELECT {columns()} FROM jobs_job WHERE lease_id = %s AND status = 'running'"
        f" ORDER BY id{for_update(skip_locked=True)}",
        [db_id(lease_id)],
    )


def live_ids(rows: Sequence[Row]) -> set[uuid.UUID]:
    """The jobs of those attempts, given as they were claimed, that still run under their fence."""
    fences = [(db_id(row.id), row.version, db_id(row.lease_id)) for row in rows if row.lease_id is not None]
    found = run(
        f"SELECT id FROM ({table(*FENCE_COLUMNS)}) AS v JOIN jobs_job ON id = vid"
        f" WHERE status || '' = 'running' AND {is_of_claim('vversion')} AND lease_id = vlease",
        [as_table(fences)],
    )
    return {py_id(raw[0]) for raw in found}


def locked_elsewhere(ended: Sequence[Ended]) -> set[uuid.UUID]:
    """Lock the rows that the end of these attempts changes; the jobs of which somebody else has locked one.

    SQLite has no locks of rows.
    """
    if not ended or not is_postgresql():
        return set()
    ids = as_list([item.job_id.hex for item in ended])
    jobs = f"SELECT id FROM jobs_job WHERE {in_ids()} ORDER BY id"
    ours = {raw[0] for raw in run(f"{jobs}{for_update(skip_locked=True)}", [ids])}
    held = {raw[0] for raw in run(jobs, [ids])} - ours
    effects = f"SELECT id, job_id FROM jobs_effect WHERE {in_ids('job_id')} AND status = 'executing' ORDER BY id"
    if with_effects := [item.job_id.hex for item in ended if item.has_effects]:
        ids = as_list(with_effects)
        ours = {raw[0] for raw in run(f"{effects}{for_update(skip_locked=True)}", [ids])}
        held |= {raw[1] for raw in run(effects, [ids]) if raw[0] not in ours}
    return {py_id(job_id) for job_id in held}
