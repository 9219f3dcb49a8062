"""welcome-email: a real mail, through Django's mail settings, at most once."""

from __future__ import annotations

import errno
import smtplib
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, get_connection
from pydantic import BaseModel, ConfigDict, EmailStr, Field, field_validator

from jobs.context import JobContext
from jobs.effects import Effect
from jobs.errors import Permanent
from jobs.registry import handler
from jobs.retry import Backoff

TIMEOUT_S = 15
"""For each step of talking to the mail server; well under the attempt's own timeout."""

PERMANENT_FROM = 500
"""RFC 5321, 4.2.1: replies from 500 on say that asking again will not help."""


END = b"\r\n.\r\n"

BEFORE_SENDING = (ImproperlyConfigured, ImportError, NotImplementedError)

ERRORS_OF_FILES = frozenset(
    {
        errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
        errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EROFS,
    }
)  # fmt: skip
"""What a backend that writes files may meet, and one that talks to a server only before it sends."""


class WelcomeEmail(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: EmailStr
    name: str = Field(min_length=1, max_length=200)
    message: str = Field("", max_length=20_000)

    @field_validator("name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        if any(ord(character) < 32 or ord(character) == 127 for character in name):
            raise ValueError("a name is one line without control characters")
        return name


@handler(
    "welcome-email",
    payload=WelcomeEmail,
    backoff=Backoff(base_s=2, cap_s=600),
    max_attempts=5,
    timeout_s=30,
)
def welcome_email(job: JobContext, payload: WelcomeEmail) -> dict[str, bool | None]:
    """Welcome somebody by mail. Never sent twice: where it is in doubt whether it was sent, it is not sent again."""
    with job.effect("send", on_doubt="skip") as effect:
        if effect.pending:
            effect.result = {"messageId": _send(payload, effect)}
            job.log("sent to the mail server")
    return {"sent": True if effect.result else None}  # None: taken as done, and nobody knows


class NotTaken(Exception):
    """The mail backend did not say that it took the mail."""


def _send(payload: WelcomeEmail, effect: Effect) -> str:
    message_id = f"<{effect.key}@{_domain()}>"
    mail = EmailMessage(
        subject=f"Welcome, {payload.name}!",
        body=payload.message or f"Hello {payload.name},\n\nwelcome!\n",
        to=[payload.email],
        headers={"Message-ID": message_id},
    )
    try:
        mail.message()
        connection = get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_S)
        connection.open()
    except BaseException:
        effect.not_done()  # whatever went wrong, no mail was handed over yet
        raise
    handing_over = HandingOver(connection)
    try:
        taken = connection.send_messages([mail])
    except BaseException as error:
        if not handing_over.may_be_over(error):
            effect.not_done()
        _give_up(error)
        raise
    finally:
        _close(connection)
    if not taken:
        if taken == 0:
            effect.not_done()
        raise NotTaken(f"the mail backend {type(connection).__name__} took {taken} of 1 mail")
    return message_id


class HandingOver:
    """How far a mail got: a server may take it only once it has the line of a single dot that ends it (RFC 5321, 4.1.1.4)."""

    def __init__(self, connection: object) -> None:
        smtp = getattr(connection, "connection", None)
        self._is_smtp = isinstance(smtp, smtplib.SMTP)
        self._has_ended = False
        if isinstance(smtp, smtplib.SMTP):
            self._send = smtp.send
            smtp.send = self._follow  # type: ignore[assignment, method-assign]

    def _follow(self, data: Any) -> None:
        is_end = isinstance(data, bytes) and data.endswith(END)
        self._has_ended |= is_end
        try:
            self._send(data)
        except OSError:  # which leaves something unsent, so at least the last bytes
            self._has_ended &= not is_end
            raise

    def may_be_over(self, error: BaseException) -> bool:
        """Whether the mail may have been taken, though that error came. With backends that we cannot look into it may,
        unless the error is one of files or of settings."""
        if self._is_smtp:
            return self._has_ended
        return not (isinstance(error, BEFORE_SENDING) or getattr(error, "errno", None) in ERRORS_OF_FILES)


def _give_up(error: BaseException) -> None:
    """Raise Permanent where asking again will not help."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
    elif isinstance(error, smtplib.SMTPResponseException):
        codes = [error.smtp_code]
    elif isinstance(error, ValueError):  # an address or text that cannot be encoded: found before it is handed over
        raise Permanent("bad-address", f"no mail can be written to this address: {error}") from error
    else:
        return
    if all(PERMANENT_FROM <= code < 600 for code in codes):
        raise Permanent("mail-rejected", f"the mail server rejected it: {error}") from error


def _close(connection: object) -> None:
    """The mail was taken or not by now: an error while saying goodbye must not put that in doubt."""
    try:
        connection.close()  # type: ignore[attr-defined]
    except (OSError, smtplib.SMTPException):
        pass


def _domain() -> str:
    """The sender's: a Message-ID is made unique by its owner's domain (RFC 5322, 3.6.4)."""
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
