"""A site below a prefix (FORCE_SCRIPT_NAME), behind a proxy that takes the prefix off the path or leaves it on."""

from __future__ import annotations

from django.urls import Resolver404, resolve

from jobs.api.lane import App
from jobsite.threads import Receive, Scope, Send


class Prefixed:
    """`app`, asked for paths without the prefix. A path that leads somewhere as it is (prefix /api, path /api/jobs) stays."""

    def __init__(self, app: App, prefix: str) -> None:
        self.app = app
        self.prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            rest = path.removeprefix(self.prefix)
            if rest != path and rest[:1] in ("", "/") and not _leads_somewhere(path):
                scope = {**scope, "path": rest or "/"}
        await self.app(scope, receive, send)


def _leads_somewhere(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
