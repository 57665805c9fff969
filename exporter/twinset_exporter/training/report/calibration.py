"""How often what was given a probability came true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinset_exporter.training.report import axes
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.axes import Axes


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
        """Return the plot; it needs no pictures."""
        drawn = Axes((0, 1), (0, 1))
        most = max((b.count for b in self.bins), default=0) or 1
        gaps = "".join(
            f'<line class="gap" x1="{drawn.across(b.predicted):.1f}" x2="{drawn.across(b.predicted):.1f}" '
            f'y1="{drawn.down(b.predicted):.1f}" y2="{drawn.down(b.observed):.1f}"/>'
            for b in self.bins
        )
        dots = "".join(
            f'<circle class="dot series-0" cx="{drawn.across(b.predicted):.1f}" cy="{drawn.down(b.observed):.1f}" '
            f'r="{2.5 + 3 * (b.count / most) ** 0.5:.1f}"><title>predicted {b.predicted:.3f}, '
            f"came true {b.observed:.3f}, {b.count:,} predictions</title></circle>"
            for b in self.bins
        )
        line = drawn.path([(b.predicted, b.observed) for b in self.bins])
        told = "Calibration plot: " + ", ".join(f"{b.predicted:.2f} came true {b.observed:.2f}" for b in self.bins)
        error = "" if self.error is None else f"<li>calibration error <b>{self.error:.4f}</b></li>"
        return (
            f'<figure class="chart"><svg viewBox="0 0 {axes.WIDTH} {axes.HEIGHT}" role="img" aria-label="{told}">'
            f"{drawn.grid('predicted probability', 'came true')}"
            f'<path class="ideal" d="{drawn.path([(0, 0), (1, 1)])}"/>'
            f'{gaps}<path class="line series-0" d="{line}"/>{dots}</svg>\n'
            f'<ul class="legend">{error}<li>dashed: what is predicted comes true exactly as often</li></ul></figure>'
        )
