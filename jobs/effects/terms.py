"""What handlers say of an effect, and what they are told: terms, probes' answers, the handle. Pure."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
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
"""Errors that prove that nothing was accepted. With anything vaguer mails would be sent twice."""


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
    lease_id: uuid.UUID
    begun: set[str] = field(default_factory=set, compare=False)
    """Names of the effects whose block has been entered: what is reserved by this attempt and not here has not run."""

    refused: list[EffectInTransaction] = field(default_factory=list, compare=False)
    """Effects that were refused, whether the handler let the error through or not."""


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


def proves(error: BaseException | None, proofs: tuple[type[BaseException], ...]) -> bool:
    """Whether an error, or the one it was explicitly raised from, proves that nothing was accepted.

    `__context__` is not followed: an earlier, handled error says nothing about this one.
    """
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, proofs):
            return True
        reason = getattr(error, "reason", None)  # urllib's URLError
        error = reason if isinstance(reason, BaseException) else error.__cause__
    return False
