"""How often what was given a probability came true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.axes import Axes
from twinset_exporter.training.report.table import table

_Z = 1.96
"""Standard deviations within which 95 % of a normal distribution lie."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about the same probability.

    Attributes:
        predicted: their mean probability, 0 to 1.
        observed: the share of them that came true, 0 to 1.
        count: how many they are.

    Raises:
        ValueError: a share is out of range.
    """

    predicted: float
    observed: float
    count: int

    def __post_init__(self) -> None:
        if not (0 <= self.predicted <= 1 and 0 <= self.observed <= 1 and self.count >= 0):
            raise ValueError(f"calibration: {self} holds something that is no share or no count")


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration plot: predicted against observed.

    Attributes:
        bins: by rising probability.
        error: the expected calibration error over these bins, None where it isn't to be shown.
    """

    bins: Sequence[Bin]
    error: float | None = None
    title: str = "Calibration"
    note: str = ""

    def markup(self, album: Album) -> str:
        """Return the plot, and its bins as a table; it needs no pictures."""
        drawn = Axes((0, 1), (0, 1), width=440, height=420)
        points = [(found.predicted, found.observed) for found in self.bins]
        parts = [
            drawn.grid("predicted probability", "came true"),
            f'<path class="ideal" d="{drawn.path([(0, 0), (1, 1)])}"/>',
            *(
                drawn.upright("whisker series-0", found.predicted, *_interval(found))
                for found in self.bins
                if found.count
            ),
            f'<path class="line series-0" d="{drawn.path(points)}"/>',
            *(_dot(drawn, found) for found in self.bins),
        ]
        key = [] if self.error is None else [f"<li>calibration error <b>{self.error:.4f}</b></li>"]
        key += ["<li>dashed: comes true exactly as often as predicted</li>", "<li>upright: 95 % interval</li>"]
        rows = [(found.predicted, found.observed, found.count) for found in self.bins]
        values = table(("predicted", "came true", "predictions"), rows)
        return (
            '<div class="panel beside">\n<figure class="chart square">'
            f"{drawn.drawing(''.join(parts), 'Calibration plot; its bins follow as a table')}\n"
            f'<ul class="key">{"".join(key)}</ul></figure>\n<div><h3>Bins</h3>\n{values}</div></div>'
        )


def _dot(drawn: Axes, found: Bin) -> str:
    told = f"predicted {found.predicted:.3f}, came true {found.observed:.3f}, {found.count:,} predictions"
    x, y = drawn.across(found.predicted), drawn.down(found.observed)
    return f'<circle class="dot series-0" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{told}</title></circle>'


def _interval(found: Bin) -> tuple[float, float]:
    """Return the 95 % interval of a bin's true share (Wilson 1927), which stays within 0 and 1 for small counts too."""
    squared = _Z * _Z / found.count
    middle = (found.observed + squared / 2) / (1 + squared)
    half = _Z / (1 + squared) * math.sqrt((found.observed * (1 - found.observed) + squared / 4) / found.count)
    return max(0.0, middle - half), min(1.0, middle + half)
