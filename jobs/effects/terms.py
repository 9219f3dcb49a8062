"""What handlers say of an effect, and what they are told: terms, probes' answers, the handle. Pure."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.errors import EffectInTransaction

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

NOTHING_ACCEPTED: tuple[type[BaseException], ...] = (
    ConnectionRefusedError,
    socket.gaierror,
    ssl.SSLCertVerificationError,
    smtplib.SMTPResponseException,  # an answer that rejects: sender, data, authentication, greeting
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPNotSupportedError,
)
"""Errors that prove that nothing was accepted, of a try that is known to be the only one. With anything vaguer mails
would be sent twice."""

DJANGOS_SMTP = "django.core.mail.backends.smtp"

TRIES_ONCE = ("socket", "ssl", "http.client", "smtplib", "asyncio", "django.core.mail")
"""Modules that do not try again by themselves, as `xmlrpc.client` and most libraries for HTTP do."""


@dataclass(frozen=True, slots=True)
class Done:
    """A probe's answer: it happened, with that result."""

    result: Any = None


class NotDone:
    """A probe's answer: it did not happen, and will not."""


class Unknown:
    """A probe's answer: it cannot tell."""


Answer = Done | NotDone | Unknown
Probe = Callable[[str], Answer | type[Answer]]
"""Called with the effect's key, under the new lease. What it raises is a failure of the attempt."""


def as_answer(answer: object) -> Answer:
    """What a probe returned, of which a class means the same as its instance. Raises TypeError for anything else."""
    if isinstance(answer, type) and issubclass(answer, Answer):
        answer = answer()
    if not isinstance(answer, Answer):
        raise TypeError(f"a probe returns Done, NotDone or Unknown, not a {type(answer).__name__}")
    return answer


@dataclass(frozen=True, slots=True)
class Attempt:
    """The fence that everything of one attempt is written under."""

    job_id: uuid.UUID
    attempt: int
    version: int
    """The row's, as it was claimed."""

    lease_id: uuid.UUID
    begun: set[str] = field(default_factory=set, compare=False)
    """Names of the effects whose block has been entered: what is reserved by this attempt and not here has not run."""

    refused: list[EffectInTransaction] = field(default_factory=list, compare=False)
    """Effects that were refused, whether the handler let the error through or not."""

    judged: list[BaseException] = field(default_factory=list, compare=False)
    """Errors that have ended an effect: of another effect around that one they prove nothing."""


@dataclass(slots=True)
class Effect:
    """What the handler's `with` block gets."""

    name: str
    key: str
    """The same over all attempts: for providers that take idempotency keys."""

    pending: bool
    """False when it is done already, by an earlier attempt or by policy."""

    result: Any = None
    """Set it inside the block; an effect that is done gives what was stored."""

    _is_not_done: bool = field(default=False)

    def not_done(self) -> None:
        """State that nothing happened: leaving the block afterwards, however, is no doubt."""
        self._is_not_done = True


@dataclass(frozen=True, slots=True)
class Terms:
    """How one effect is to be treated."""

    name: str
    on_doubt: str = "hold"
    probe: Probe | None = None
    not_done_on: tuple[type[BaseException], ...] = NOTHING_ACCEPTED

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an effect: letters, digits, '.', '_' and '-', at most 64")
        if self.on_doubt not in ("hold", "skip", "repeat"):
            raise ValueError(f"on_doubt is hold, skip or repeat, not {self.on_doubt!r}")


def proves(error: BaseException, proofs: tuple[type[BaseException], ...]) -> bool:
    """Say whether an error of an effect's block proves that nothing was accepted.

    Errors that somebody wrapped prove nothing: an earlier try may have been accepted. Our own list is believed only of
    what is known to be the only try; a list of the handler's own is its word.
    """
    if not isinstance(error, proofs):
        return False
    return proofs is not NOTHING_ACCEPTED or (_is_rejection(error) and _is_only_try(error))


def _is_rejection(error: BaseException) -> bool:
    """A reply that cannot be read has the code -1, and after the end of a mail all of 200 to 299 accept it."""
    return not isinstance(error, smtplib.SMTPResponseException) or 400 <= error.smtp_code < 600


def _is_only_try(error: BaseException) -> bool:
    """Whether it came straight from what tries once, called by the code that entered the effect or its package.

    What was raised while another error was handled may be a second try, but for text that was not ASCII.
    """
    if not isinstance(error.__context__, UnicodeError | None) or not isinstance(error.__cause__, UnicodeError | None):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if _module(frame) != "jobs.effects"]
    callers_own = _module(frames[0]).partition(".")[0] if frames else ""
    return all(_tries_once(frame, callers_own) for frame in frames)


def _tries_once(frame: FrameType, callers_own: str) -> bool:
    name = _module(frame)
    if name == DJANGOS_SMTP and frame.f_locals.get("num_sent"):
        return False  # the server has taken an earlier mail of the same list
    return any(name == module or name.startswith(f"{module}.") for module in (callers_own, *TRIES_ONCE))


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))
