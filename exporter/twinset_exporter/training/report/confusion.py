"""The confusion matrix of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.table import table

_LARGEST_TABLE = 20
"""With more classes than this, counts would be too small to read."""

_MOST_NAMES = 50
_NAME_LENGTH = 16
_NAME_ROOM = 7

_WORST = 15


@dataclass(frozen=True, slots=True)
class Confusion:
    """What was taken for what.

    Attributes:
        classes: names, C of them.
        counts: `[C, C]` int; rows are what it is, columns what was predicted.

    Raises:
        ValueError: `counts` has another shape, or a negative count.
    """

    classes: Sequence[str]
    counts: NDArray[np.integer]
    title: str = "Confusion"
    note: str = ""

    def __post_init__(self) -> None:
        size = len(self.classes)
        if self.counts.shape != (size, size):
            raise ValueError(f"confusion: counts of shape {self.counts.shape} for {size} classes")
        if self.counts.size and self.counts.min() < 0:
            raise ValueError("confusion: a negative count")

    def markup(self, album: Album) -> str:
        """Return the matrix, coloured by the share of its row, and the commonest mistakes; it needs no pictures."""
        matrix = self._cells() if len(self.classes) <= _LARGEST_TABLE else self._picture()
        mistakes = self._mistakes()
        beside = f"<h3>Commonest mistakes</h3>\n{mistakes}" if mistakes else "<p>No mistakes.</p>"
        return f'<div class="panel beside">{matrix}\n<div>{beside}</div></div>'

    def _shares(self) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return shares

    def _cells(self) -> str:
        shares = self._shares()
        head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in self.classes)
        rows = []
        for at, name in enumerate(self.classes):
            cells = "".join(
                f'<td class="{"right" if at == to else "wrong"}{" strong" if share > 0.55 else ""}" '
                f'style="--share:{share:.3f}">{count or ""}</td>'
                for to, (count, share) in enumerate(zip(self.counts[at].tolist(), shares[at].tolist(), strict=True))
            )
            rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
        return (
            '<div class="scroll" tabindex="0"><table class="confusion">\n'
            "<caption>Rows: what it is. Columns: what was predicted.</caption>\n"
            f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>"
        )

    def _picture(self) -> str:
        shares, size = self._shares(), len(self.classes)
        cells = []
        for at, to in np.argwhere(self.counts).tolist():
            kind = "right" if at == to else "wrong"
            told = f"{self.classes[at]} taken for {self.classes[to]}: {self.counts[at, to]:,}"
            cells.append(
                f'<rect class="cell {kind}" x="{to}" y="{at}" width="1" height="1" '
                f'opacity="{0.15 + 0.85 * shares[at, to]:.2f}">'
                f"<title>{escape(told)}</title></rect>"
            )
        names = [
            f'<text x="-0.4" y="{at + 0.75}" text-anchor="end">{escape(_short(name))}</text>'
            f'<text transform="translate({at + 0.75} -0.4) rotate(-90)">{escape(_short(name))}</text>'
            for at, name in enumerate(self.classes)
        ]
        # Beyond this many a name is smaller than a reader can read; each cell tells its own under the pointer.
        room, texts = (_NAME_ROOM, "".join(names)) if size <= _MOST_NAMES else (0.5, "")
        told = f"Confusion matrix of {size} classes; the commonest mistakes follow as a table"
        box = f"{-room} {-room} {size + room + 0.5} {size + room + 0.5}"
        return (
            '<div class="picture-of"><p class="note">Rows: what it is. Columns: what was predicted.</p>\n'
            f'<svg class="matrix" viewBox="{box}" role="img" aria-label="{told}">'
            f'<rect class="well" width="{size}" height="{size}"/>{"".join(cells)}{texts}</svg></div>'
        )

    def _mistakes(self) -> str:
        wrong = self.counts * (1 - np.eye(len(self.classes), dtype=self.counts.dtype))
        order = np.argsort(-wrong, axis=None, kind="stable")[:_WORST]
        shares = self._shares()
        rows = [
            (self.classes[at], self.classes[to], int(wrong[at, to]), f"{shares[at, to]:.1%}")
            for at, to in zip(*(part.tolist() for part in np.unravel_index(order, wrong.shape)), strict=True)
            if wrong[at, to]
        ]
        return table(("it is", "predicted", "times", "of its class"), rows) if rows else ""


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}\u2026"
