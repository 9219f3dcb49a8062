"""Mail in development: each message becomes one file of the outbox."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from jobsite.environment import private_dir


class OutboxBackend(BaseEmailBackend):
    """Writes `<time>-<random>.eml` into `EMAIL_FILE_PATH`; a file appears whole or not at all."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        outbox = private_dir(Path(settings.EMAIL_FILE_PATH), "EMAIL_URL")
        for message in email_messages:
            name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(6)}.eml"
            draft = outbox / f".{name}"
            try:
                with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(message.message().as_bytes())
                draft.rename(outbox / name)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        return len(email_messages)
