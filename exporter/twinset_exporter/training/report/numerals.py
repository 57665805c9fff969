"""How a page writes numbers."""

from __future__ import annotations

import math


def numeral(value: float) -> str:
    """Return a number as a reader wants it: counts with commas, others to four significant digits.

    Shares keep four decimals, so that those below each other align: `.8476` reads `0.8476`.
    """
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "none"
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:.4f}"
    if 10 <= abs(value) < 100_000:
        return f"{value:,.{max(0, 3 - int(math.log10(abs(value))))}f}"
    return f"{value:.3g}"


def tick(value: float) -> str:
    """Return the label of a tick mark, without zeros at its end."""
    return f"{0.0 if abs(value) < 1e-12 else value:.6g}"
