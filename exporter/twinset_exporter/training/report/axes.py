"""The axes of a drawn chart, as SVG: where a value lies, round tick marks, grid and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from twinset_exporter.training.report.numerals import tick

_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 38
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axes:
    """A rectangle of values on a drawing.

    Attributes:
        x: lowest and highest value across.
        y: lowest and highest value upwards.
        width: of the drawing, in its own units.
        height: of the drawing.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 420
    height: int = 250

    @property
    def _floor(self) -> int:
        return self.height - _BOTTOM

    def across(self, value: float) -> float:
        """Return the drawing's x of a value."""
        low, high = self.x
        return _LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def down(self, value: float) -> float:
        """Return the drawing's y of a value; it grows downwards."""
        low, high = self.y
        return self._floor - (value - low) / (high - low) * (self._floor - _TOP)

    def upright(self, kind: str, x: float, low: float, high: float) -> str:
        """Return a vertical line of a class between two values."""
        at = f"{self.across(x):.1f}"
        return f'<line class="{kind}" x1="{at}" x2="{at}" y1="{self.down(low):.1f}" y2="{self.down(high):.1f}"/>'

    def drawing(self, content: str, told: str) -> str:
        """Return the whole drawing; `told` is what a reader hears who doesn't see it."""
        return f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(told)}">{content}</svg>'

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """Return the path through points, broken where a value isn't finite."""
        parts, pen = [], "M"
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                parts.append(f"{pen}{self.across(x):.1f} {self.down(y):.1f}")
                pen = "L"
            else:
                pen = "M"
        return "".join(parts)

    def grid(self, x_label: str, y_label: str = "", *, whole_x: bool = False) -> str:
        """Return grid lines, tick labels and the axes' names; `whole_x` keeps to whole numbers across."""
        marks = []
        for value in ticks(*self.y):
            y = self.down(value)
            marks.append(f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            marks.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick(value)}</text>')
        for value in ticks(*self.x, whole=whole_x):
            x, y = self.across(value), self._floor
            marks.append(f'<line class="notch" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>')
            marks.append(f'<text class="tick" x="{x:.1f}" y="{y + 16}" text-anchor="middle">{tick(value)}</text>')
        middle, bottom = (_LEFT + self.width - _RIGHT) / 2, self.height - 5
        marks.append(f'<text class="axis" x="{middle}" y="{bottom}" text-anchor="middle">{escape(x_label)}</text>')
        if y_label:
            at = (_TOP + self._floor) / 2
            marks.append(
                f'<text class="axis" x="12" y="{at}" text-anchor="middle" transform="rotate(-90 12 {at})">'
                f"{escape(y_label)}</text>"
            )
        return "\n".join(marks)


def around(values: Sequence[float]) -> tuple[float, float]:
    """Return a range that holds all finite values with a little room; never an empty one."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    return low - room, high + room


def ticks(low: float, high: float, *, whole: bool = False, wanted: int = 6) -> list[float]:
    """Return round values within a range, about as many as wanted."""
    rough = (high - low) / wanted
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in _STEPS if size * factor >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
