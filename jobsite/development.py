"""What a developer needs to log in and to call the API: made once, kept in the data dir, printed by `up`."""

from __future__ import annotations

import json
import secrets
import shlex
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import reverse

from jobs.addresses import mounted_at
from jobs.api import keys
from jobsite.environment import private_file

ADMIN = "admin"
DEV_CLIENT = "dev"
WELCOME = {
    "type": "welcome-email",
    "payload": {"email": "ada@example.com", "name": "Ada", "message": "Hello!"},
    "idempotencyKey": "welcome-ada",
}


def admin_password() -> Path | None:
    """The file with the password of the user `admin`; None where that user came from elsewhere, and keeps the one they have."""
    path: Path = settings.DATA_DIR / "admin-password"
    users = get_user_model().objects
    if not users.filter(username=ADMIN).exists():
        private_file(path, secrets.token_urlsafe(12) + "\n")
        users.create_superuser(ADMIN, "admin@localhost", path.read_text().strip())
    return path if path.exists() else None


def api_key() -> Path:
    """The file with an API key of the client `dev` that works: every scope, no rate limit."""
    path: Path = settings.DATA_DIR / "dev-api-key"
    if path.exists() and keys.identify(path.read_text().strip()) is not None:
        return path
    _, secret = keys.create(DEV_CLIENT, list(keys.SCOPES), is_unlimited=True)
    path.unlink(missing_ok=True)
    return private_file(path, secret + "\n")


def introduction(origin: str) -> list[str]:
    """How to log in, how to call, and a command to paste for the first job; makes what is missing for it."""
    password, key = admin_password(), api_key()
    said = f"password {password.read_text().strip()}  ({password})" if password else "with the password it has already"
    return [
        f"admin   {origin}{reverse('admin:index')}  user {ADMIN}, {said}",
        f"API key {key.read_text().strip()}  ({key})",
        "a first job:",
        f"curl -i {origin}{mounted_at()}/jobs \\",
        f'    -H "Authorization: Bearer $(cat {shlex.quote(str(key))})" \\',
        "    -H 'Content-Type: application/json' \\",
        f"    -d '{json.dumps(WELCOME)}'",
    ]
