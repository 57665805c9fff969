"""Curves over the epochs of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Self

from twinset_exporter.training.report import axes
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.axes import Axes
from twinset_exporter.training.report.numerals import numeral

TRAINING, VALIDATION = "training", "validation"


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
        """Return the charts; they need no pictures."""
        return f'<div class="charts">\n{"".join(_chart(chart, self.kept_epoch) for chart in self.charts)}</div>'


def _chart(chart: Chart, kept: int | None) -> str:
    epochs = max(len(line) for line in chart.lines.values())
    drawn = Axes((1, max(2, epochs)), axes.around([value for line in chart.lines.values() for value in line]))
    parts = [drawn.grid("epoch", whole_x=True)]
    if kept is not None:
        x = drawn.across(kept)
        parts.append(f'<line class="kept" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.TOP}" y2="{axes.HEIGHT - axes.BOTTOM}"/>')
    legend = []
    for number, (name, line) in enumerate(chart.lines.items()):
        points = list(enumerate(line, 1))
        parts.append(f'<path class="line series-{number % 6}" d="{drawn.path(points)}"/>')
        if kept is not None and kept <= len(line):
            x, y = drawn.across(kept), drawn.down(line[kept - 1])
            parts.append(f'<circle class="dot series-{number % 6}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
        at = line[kept - 1] if kept is not None and kept <= len(line) else line[-1]
        legend.append(
            f'<li class="series-{number % 6}"><span class="swatch"></span>{escape(name)} '
            f"<b>{numeral(float(at))}</b></li>"
        )
    told = f"{chart.title} over {epochs} epochs"
    return (
        f'<figure class="chart"><h3>{escape(chart.title)}</h3>\n'
        f'<svg viewBox="0 0 {axes.WIDTH} {axes.HEIGHT}" role="img" aria-label="{escape(told)}">{"".join(parts)}</svg>\n'
        f'<ul class="legend">{"".join(legend)}</ul></figure>\n'
    )
