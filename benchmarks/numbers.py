"""How figures are written: three digits that count, and no more than that behind the point."""

from __future__ import annotations

DIGITS = 3


def shown(value: float) -> str:
    """1234.5 as 1,235, 12.34 as 12.3, 0.4216 as 0.422, 0 as 0."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{DIGITS - 1}e}".partition("e")[2])  # of the rounded figure: 0.09999 is 0.100
    return f"{value:,.{max(0, DIGITS - 1 - exponent)}f}"
