"""Curves over the epochs of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Self

from twinset_exporter.training.report import axes
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.axes import Axes
from twinset_exporter.training.report.numerals import numeral
from twinset_exporter.training.report.table import table

TRAINING, VALIDATION = "training", "validation"

_SERIES = 6
"""How many line colours there are."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity over the epochs.

    Attributes:
        title: the quantity, such as `accuracy`.
        lines: a value for each epoch, the first epoch first, by the line's name; NaN where none was taken.
    """

    title: str
    lines: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Curves:
    """Charts beside each other.

    Attributes:
        charts: one for each quantity.
        kept_epoch: the epoch whose weights were kept, from 1; None where there is no such.

    Raises:
        ValueError: a chart has no line, or none with a value.
    """

    charts: Sequence[Chart]
    kept_epoch: int | None = None
    title: str = "Curves"
    note: str = ""

    def __post_init__(self) -> None:
        for chart in self.charts:
            if not any(len(line) for line in chart.lines.values()):
                raise ValueError(f"chart {chart.title}: no line has a value")

    @classmethod
    def of_epochs(
        cls,
        training: Sequence[Mapping[str, float]],
        validation: Sequence[Mapping[str, float]],
        kept_epoch: int | None = None,
        title: str = "Curves",
        note: str = "",
    ) -> Self:
        """Return a chart for each quantity, with what training and what validation measured of it as its two lines.

        Args:
            training: the figures of each epoch by name.
            validation: the same, of the validation part; a name in both is one chart.
            kept_epoch: see the class.
            title: see the class.
            note: see the class.
        """
        sides = ((TRAINING, training), (VALIDATION, validation))
        names = dict.fromkeys(name for _, epochs in sides for epoch in epochs for name in epoch)
        charts = [
            Chart(
                name,
                {
                    side: [epoch.get(name, float("nan")) for epoch in epochs]
                    for side, epochs in sides
                    if any(name in epoch for epoch in epochs)
                },
            )
            for name in names
        ]
        return cls(charts, kept_epoch, title, note)

    def markup(self, album: Album) -> str:
        """Return the charts, and their values as tables; they need no pictures."""
        return f'<div class="charts">\n{"".join(_chart(chart, self.kept_epoch) for chart in self.charts)}</div>'


def _chart(chart: Chart, kept: int | None) -> str:
    epochs = max(len(line) for line in chart.lines.values())
    drawn = Axes((1, max(2, epochs)), axes.around([value for line in chart.lines.values() for value in line]))
    parts, key = [drawn.grid("epoch", whole_x=True)], []
    if kept is not None:
        parts.append(drawn.upright("kept", kept, *drawn.y))
    for number, (name, line) in enumerate(chart.lines.items()):
        series = f"series-{number % _SERIES}"
        parts.append(f'<path class="line {series}" d="{drawn.path(list(enumerate(line, 1)))}"/>')
        last = len(line) if kept is None else min(kept, len(line))
        value = float(line[last - 1])
        if math.isfinite(value):
            parts.append(
                f'<circle class="dot {series}" cx="{drawn.across(last):.1f}" cy="{drawn.down(value):.1f}" r="4"/>'
            )
        key.append(
            f'<li><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line {series}" d="M1 4H21"/></svg>'
            f"{escape(name)} <b>{numeral(value)}</b></li>"
        )
    if kept is not None:
        key.append(f"<li>kept: epoch {kept}</li>")
    rows = [
        (epoch, *(float(line[epoch - 1]) if epoch <= len(line) else math.nan for line in chart.lines.values()))
        for epoch in range(1, epochs + 1)
    ]
    values = table(("epoch", *chart.lines), rows)
    return (
        f'<figure class="panel chart"><h3>{escape(chart.title)}</h3>\n'
        f"{drawn.drawing(''.join(parts), f'{chart.title} over {epochs} epochs; the values follow as a table')}\n"
        f'<ul class="key">{"".join(key)}</ul>\n'
        f"<details><summary>Values</summary>{values}</details></figure>\n"
    )
