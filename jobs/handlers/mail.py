"""welcome-email: a real mail, through Django's mail settings, at most once."""

from __future__ import annotations

import smtplib
from email.utils import parseaddr

from django.conf import settings
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
def welcome_email(job: JobContext, payload: WelcomeEmail) -> dict[str, bool]:
    """Welcome somebody by mail. Never sent twice: where it is in doubt whether it was sent, it was."""
    with job.effect("send", on_doubt="skip") as effect:
        if effect.pending:
            effect.result = {"messageId": _send(payload, effect)}
            job.log("sent to the mail server")
    return {"sent": True}


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
    try:
        connection.send_messages([mail])
    except smtplib.SMTPRecipientsRefused as error:
        _give_up_if(all(code >= PERMANENT_FROM for code, _ in error.recipients.values()), error)
        raise
    except ValueError as error:  # an address or text that cannot be encoded: found before it is handed over
        raise Permanent("bad-address", f"no mail can be written to this address: {error}") from error
    except smtplib.SMTPResponseException as error:
        _give_up_if(error.smtp_code >= PERMANENT_FROM, error)
        raise
    finally:
        _close(connection)
    return message_id


def _give_up_if(is_permanent: bool, error: smtplib.SMTPException) -> None:
    if is_permanent:
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
