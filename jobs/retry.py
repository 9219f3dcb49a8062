"""Back-off: how long a failed job waits before its next attempt. Pure, but for the random number.

Exponential with full jitter: a uniform draw from [0, min(cap, base * 2^(failures-1))], which spreads
a crowd of jobs that failed together best for the least total work ("Exponential Backoff And Jitter",
AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """`base_s` seconds before the second attempt at most, doubling with each failure up to `cap_s`."""

    base_s: float = 2.0
    cap_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s:
            raise ValueError(f"a back-off needs 0 < base_s <= cap_s, got {self.base_s} and {self.cap_s}")

    def ceiling_s(self, failures: int) -> float:
        """The longest wait, in seconds, after that many failures (1 or more)."""
        exponent = min(max(failures, 1) - 1, 62)  # 2^62 s is beyond any cap; keeps the float finite
        return min(self.cap_s, self.base_s * 2.0**exponent)

    def delay_s(self, failures: int) -> float:
        """A wait in seconds, drawn anew each time."""
        return random.uniform(0, self.ceiling_s(failures))  # noqa: S311 - spreads load, guards nothing
