"""The error tree: what can go wrong, by a stable `code` and the HTTP status the API answers with.

The docstring of a class is its default message. Losing a race is not an error: the functions in
`transitions.py` simply return fewer rows than they were given.
"""

from __future__ import annotations

from typing import Any, ClassVar


class JobsError(Exception):
    """Something went wrong in the job system."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.facts = facts
        """What a caller may want to show beside the message: never a payload or a secret."""
        super().__init__(self.message)


# --- accepting a job ------------------------------------------------------------------------------


class MalformedRequest(JobsError):
    """The request is not a well-formed job."""

    code = "malformed"
    http_status = 400

    def __init__(self, message: str | None = None, errors: list[FieldError] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.errors = errors or []


class TooLarge(JobsError):
    """The request is larger than allowed."""

    code = "too-large"
    http_status = 413


class UnknownType(JobsError):
    """No handler is registered for this type."""

    code = "unknown-type"
    http_status = 422


class UnknownQueue(JobsError):
    """No such queue: a job in it would never run."""

    code = "unknown-queue"
    http_status = 422


class InvalidPayload(JobsError):
    """The payload does not fit its type."""

    code = "invalid-payload"
    http_status = 422

    def __init__(self, message: str | None = None, errors: list[FieldError] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.errors = errors or []


class KeyReused(JobsError):
    """This idempotency key was used before, for another request."""

    code = "key-reused"
    http_status = 422

    def __init__(self, message: str | None = None, errors: list[FieldError] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.errors = errors or []


class FieldError(dict[str, str]):
    """One entry of a problem's `errors`: `{pointer, code, detail}`; pointer is an RFC 6901 JSON pointer."""

    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(pointer=pointer, code=code, detail=detail)


class DatabaseUnavailable(JobsError):
    """The database cannot commit at the moment; nothing was stored. Try again."""

    code = "database-unavailable"
    http_status = 503


# --- asking something of a job --------------------------------------------------------------------


class JobNotFound(JobsError):
    """No such job."""

    code = "not-found"
    http_status = 404


class NotAllowed(JobsError):
    """The job's status does not allow that."""

    code = "not-allowed"
    http_status = 409


class EffectNotSettled(JobsError):
    """The effect is not in doubt, so there is nothing to settle."""

    code = "not-in-doubt"
    http_status = 409


class ScheduleNotFound(JobsError):
    """No such schedule."""

    code = "not-found"
    http_status = 404


class InvalidSchedule(JobsError):
    """The schedule is not valid."""

    code = "invalid-schedule"
    http_status = 422


# --- inside an attempt ----------------------------------------------------------------------------


class Permanent(JobsError):
    """The job cannot succeed, however often it is tried: raise this in a handler to fail at once."""

    code = "permanent"

    def __init__(self, code: str = "permanent", message: str | None = None) -> None:
        super().__init__(str(message or code))
        self.failure_code = str(code)
        """The code stored with the job: at most 64 characters."""


class Retry(JobsError):
    """Try again later: raise this in a handler to choose the delay yourself. It counts as a failure."""

    code = "retry"

    def __init__(self, after_s: float | None = None, message: str | None = None) -> None:
        super().__init__(message or "the handler asked for another attempt")
        if after_s is not None and not 0 <= float(after_s) <= 315_360_000:
            raise ValueError(f"after_s is 0 to 315,360,000 seconds, not {after_s}")
        self.after_s = None if after_s is None else float(after_s)
        """Seconds until the next attempt; None for the type's own back-off."""


class LeaseLost(BaseException):
    """The attempt lost its lease: whatever it still does can no longer be recorded.

    A BaseException, so that `except Exception` in a handler does not swallow it.
    """


class EffectHeld(BaseException):
    """An effect of an earlier attempt is in doubt and must not run again: the job waits for its truth."""


class EffectInTransaction(JobsError):
    """An effect, or its settling, was refused: a transaction is open, and what is written now could be rolled back."""

    code = "effect-in-transaction"
    http_status = 409


class Interrupted(BaseException):
    """The attempt was told to end. A BaseException: `except Exception` in a handler must not swallow it."""


class SoftTimeout(Interrupted):
    """The attempt ran longer than its timeout."""


class CancelRequested(Interrupted):
    """Somebody asked for the job to be cancelled."""
