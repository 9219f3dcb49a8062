"""The history of a fault run: who asked for what, what was answered, what was broken when. JSON lines."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any


class History:
    """Appends by all threads of the harness; `entries` is the same as the file."""

    def __init__(self, path: Path) -> None:
        self.entries: list[dict[str, Any]] = []
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def note(self, actor: str, kind: str, **facts: Any) -> float:
        """`kind` of a client's entry: invoke, ok, fail, info (unknown). The monotonic time of the entry."""
        at = time.monotonic()
        entry = {"at": round(at, 4), "actor": actor, "kind": kind, **facts}
        with self._lock:
            self.entries.append(entry)
            self._file.write(json.dumps(entry, default=str) + "\n")
        return at

    def of(self, kind: str) -> list[dict[str, Any]]:
        with self._lock:
            return [entry for entry in self.entries if entry["kind"] == kind]

    def close(self) -> None:
        self._file.close()
