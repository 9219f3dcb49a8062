"""How figures are written: three digits that count, and no more than that behind the point."""

from __future__ import annotations

import math

DIGITS = 3


def shown(value: float) -> str:
    """1234.5 as 1,235, 12.34 as 12.3, 0.4216 as 0.422, 0 as 0."""
    if value == 0:
        return "0"
    places = max(0, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"
