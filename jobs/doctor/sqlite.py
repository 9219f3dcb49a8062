"""What SQLite's promises rest on: its modes, its file system, the room on it, and whether the file is whole."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from jobs.doctor.findings import Finding, failure, warning

NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.", "ceph", "lustre", "afs", "gfs", "ocfs", "glusterfs")
"""Beginnings of the names of file systems on which locks or shared memory of several machines are not to be relied on."""

FULL = 2
"""`PRAGMA synchronous`; 3, which is EXTRA, is safe as well."""

CHECK_S = 2.0
"""The check of the file is given up after that: it reads all of it."""

STEPS = 10_000
"""Of SQLite's virtual machine, between two looks at the clock."""

WAL_MOST_BYTES = 256 * 2**20
"""A checkpoint empties it at 4 MiB, unless a reader that stays keeps it from that."""

FREE_MIN_BYTES = 512 * 2**20


def look(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    mode, synchronous = _pragma(connection, "journal_mode"), _pragma(connection, "synchronous")
    if mode != "wal":
        yield failure(
            "sqlite-journal",
            f"SQLite runs in journal mode {mode!r} instead of 'wal': readers and the writer wait for each other",
            "keep the database on a local disk, and PRAGMA journal_mode=WAL in the options of its connection",
        )
    if int(synchronous) < FULL:
        yield warning(
            "sqlite-synchronous",
            f"PRAGMA synchronous is {synchronous}: an accepted job may be lost with the power",
            "have PRAGMA synchronous=FULL in the options of its connection",
        )
    path = Path(str(connection.settings_dict["NAME"]))
    if path.is_file():
        yield from _file(path)
    yield from _is_whole(connection, path)


def facts(connection: BaseDatabaseWrapper) -> str:
    return f"journal {_pragma(connection, 'journal_mode')}, synchronous {_pragma(connection, 'synchronous')}"


def holders(connection: BaseDatabaseWrapper) -> list[str]:
    """SQLite does not tell who holds its lock."""
    return [f"find the program that holds it: fuser {connection.settings_dict['NAME']}"]


def _file(path: Path) -> Iterator[Finding]:
    kind = file_system(path, Path("/proc/self/mountinfo"))
    if kind.startswith(NETWORK):
        yield failure(
            "sqlite-network-disk",
            f"the database file lies on a file system of the network ({kind}), where its locks do not hold",
            "move the file to a local disk, or use PostgreSQL",
        )
    if not os.access(path.parent, os.W_OK):
        yield failure(
            "sqlite-folder",
            f"nothing may be written into {path.parent}, as SQLite must",
            f"chown or chmod {path.parent}",
        )
    free = shutil.disk_usage(path.parent).free
    if free < FREE_MIN_BYTES:
        yield failure(
            "database-disk",
            f"{free // 2**20:,} MiB are free for the database",
            "free some space, or move it to a larger disk",
        )
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > WAL_MOST_BYTES:
        yield warning(
            "sqlite-wal",
            f"the write-ahead log has grown to {size // 2**20:,} MiB: some reader keeps it from being emptied",
            f"find it: fuser {path}; once it has ended: sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'",
        )


def file_system(path: Path, mounts: Path) -> str:
    """The kind of the file system that holds the file; '' where the kernel does not tell."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    found, longest = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape")  # \040 is a blank
        if path.resolve().is_relative_to(point) and len(point) > longest:
            found, longest = after.split()[0], len(point)
    return found


def _is_whole(connection: BaseDatabaseWrapper, path: Path) -> Iterator[Finding]:
    deadline = time.monotonic() + CHECK_S
    raw = connection.connection
    raw.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    try:
        said = _pragma(connection, "quick_check(1)")
    except DatabaseError as error:
        said = "ok" if "interrupted" in str(error) else str(error)
    finally:
        raw.set_progress_handler(None, 0)
    if said != "ok":
        yield failure(
            "sqlite-damaged",
            f"the database file is damaged: {said.splitlines()[0]}",
            f"stop everything, keep a copy, then restore a backup, or: sqlite3 {path} .recover",
        )


def _pragma(connection: BaseDatabaseWrapper, name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return str(cursor.fetchone()[0])
