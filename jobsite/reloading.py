"""Hot reload: one watcher for all children of `up`.

A file that does not compile is reported and restarts nothing: the children go on with the code they have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from watchfiles import DefaultFilter, watch

from jobsite.environment import BASE_DIR

FOLDERS = ("jobs", "jobsite")
SUFFIXES = (".py", ".html", ".lua", ".sql")


class SourceFilter(DefaultFilter):
    """Files that a running process has read and would have to read again."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(SUFFIXES) and super().__call__(change, path)  # type: ignore[arg-type]


def folders() -> list[Path]:
    """Those of the project, and of every other app that lies in it."""
    from django.apps import apps

    own = {Path(app.path) for app in apps.get_app_configs() if Path(app.path).is_relative_to(BASE_DIR)}
    inside_venv = {path for path in own if ".venv" in path.parts or "site-packages" in path.parts}
    return sorted((own - inside_venv) | {BASE_DIR / name for name in FOLDERS})


def follow(on_change: Callable[[], None], say: Callable[[str], None], stop: threading.Event) -> None:
    """Call `on_change` after each change of the sources, until `stop` is set."""
    for changes in watch(*folders(), watch_filter=SourceFilter(), stop_event=stop, raise_interrupt=False):
        paths = sorted({Path(path) for _, path in changes})
        names = ", ".join(str(path.relative_to(BASE_DIR)) for path in paths[:3])
        if problem := syntax_problem(paths):
            say(f"{problem}; nothing is restarted")
        else:
            say(f"{names} changed: restarting")
            on_change()


def syntax_problem(paths: list[Path]) -> str | None:
    """What keeps the first bad file from compiling, in one line."""
    for path in paths:
        if path.suffix != ".py" or not path.exists():
            continue
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            return f"{path.name}{line}: {error.args[0] if error.args else error}"
    return None
