"""API keys: create, list, rotate, revoke."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser

from jobs.api import keys
from jobs.documents import isotime
from jobs.management.base import INVALID, JobsCommand
from jobs.models import ApiKey, clock

DAY_S = 86_400


class Command(JobsCommand):
    help = "Create, list, rotate and revoke API keys. A key's secret is shown once, when it is made."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        create = actions.add_parser("create", help="a new key for a client")
        create.add_argument("client", metavar="CLIENT", help="who calls: jobs belong to the client, not to the key")
        create.add_argument(
            "--scopes", nargs="+", default=list(keys.USUAL_SCOPES), metavar="SCOPE", help=f"of {', '.join(keys.SCOPES)}"
        )
        create.add_argument("--expires", metavar="WHEN", help="an ISO time with offset, or days from now (90d)")
        create.add_argument("--unlimited", action="store_true", help="exempt from the rate limit")
        listing = actions.add_parser("list", help="all keys, without their secrets")
        rotate = actions.add_parser("rotate", help="a new key for the same client; the old one expires")
        rotate.add_argument("prefix", metavar="PREFIX")
        rotate.add_argument(
            "--overlap", type=float, default=DAY_S, metavar="S", help="seconds both work (default: a day)"
        )
        revoke = actions.add_parser("revoke", help="stop a key from working")
        revoke.add_argument("prefix", metavar="PREFIX")
        for action in (create, listing, rotate, revoke):
            action.add_argument("--json", action="store_true")

    def run(self, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(**options)
        except ValueError as error:
            raise CommandError(f"{error}.", returncode=INVALID) from None

    def _create(self, *, client: str, scopes: list[str], expires: str | None, unlimited: bool, **options: Any) -> None:
        wanted = [scope for text in scopes for scope in text.replace(",", " ").split()]
        key, text = keys.create(client, wanted, expires_at=_moment(expires), is_unlimited=unlimited)
        self.done = _unseen(key)
        self._show(key, text, **options)

    def _rotate(self, *, prefix: str, overlap: float, **options: Any) -> None:
        if not 0 <= overlap <= 365 * DAY_S:
            raise ValueError("--overlap is 0 to 31,536,000 seconds")
        old = _find(prefix)
        key, text = keys.rotate(old, overlap_s=overlap)
        self.done = f"{_unseen(key)} The old key {old.prefix} works until {isotime(old.expires_at)}."
        self._show(key, text, **options)
        if not options["json"]:
            self.stdout.write(f"The old key {old.prefix} works until {isotime(old.expires_at)}.")

    def _revoke(self, *, prefix: str, json: bool, **_: Any) -> None:
        key = _find(prefix)
        keys.revoke(key)
        self.done = f"The key {key.prefix} of {key.client} is revoked."
        key.refresh_from_db()
        if json:
            self.print_json(_document(key))
        else:
            self.stdout.write(self.done)

    def _list(self, *, json: bool, **_: Any) -> None:
        found = list(ApiKey.objects.all())
        if json:
            self.print_json({"items": [_document(key) for key in found]})
            return
        for key in found:
            used = f"last used {isotime(key.last_used_at)}" if key.last_used_at else "never used"
            self.stdout.write(f"{key.prefix}  {key.client:<24} {_state(key):<8} {used}  {' '.join(key.scopes)}")
        if not found:
            self.stdout.write("There are no keys: python manage.py apikey create CLIENT makes one.")

    def _show(self, key: ApiKey, text: str, *, json: bool, **_: Any) -> None:
        if json:
            self.print_json({**_document(key), "key": text})
            return
        self.stdout.write(text)
        self.stdout.flush()
        self.stderr.write(f"This is the key of {key.client}, shown this once. It may {', '.join(key.scopes)}.")


def _find(prefix: str) -> ApiKey:
    """By the prefix, with or without `jk_`. Raises ValueError."""
    key = ApiKey.objects.filter(prefix=prefix.removeprefix("jk_")[:8]).first()
    if key is None:
        raise ValueError(f"there is no key {prefix[:11]!r}; python manage.py apikey list shows them")
    return key


def _unseen(key: ApiKey) -> str:
    """What to do about a key whose secret nobody has seen."""
    return (
        f"The key {key.prefix} of {key.client} was created, but nobody has seen it:"
        f" revoke it with `manage.py apikey revoke {key.prefix}`, and create another one."
    )


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    if text.endswith("d") and text[:-1].isdecimal():
        if len(text) > 5:
            raise ValueError("--expires takes at most 9999d")
        return clock.now() + dt.timedelta(days=int(text[:-1]))
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("--expires needs a time with an offset, such as 2030-01-31T08:00:00Z, or days, such as 90d")
    return moment


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= clock.now() else "valid"


def _document(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "client": key.client,
        "state": _state(key),
        "scopes": key.scopes,
        "isUnlimited": key.is_unlimited,
        "createdAt": isotime(key.created_at),
        "expiresAt": isotime(key.expires_at),
        "revokedAt": isotime(key.revoked_at),
        "lastUsedAt": isotime(key.last_used_at),
    }
