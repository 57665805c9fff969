"""The page of a taste training: curves, a map of the items, and what lies next to the popular ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.figure import Figure
from twinset_exporter.training.loop import History
from twinset_exporter.training.report.curves import Curves
from twinset_exporter.training.report.map import Map
from twinset_exporter.training.report.neighbours import Answered, Card, Neighbours
from twinset_exporter.training.report.projection import project
from twinset_exporter.training.report.report import Report, Section

_QUERIES, _ANSWERS = 12, 6
_MAPPED = 2000
_LEAST_MAPPED = 10


def report(
    facts: Sequence[tuple[str, str]],
    figures: Sequence[Figure],
    splits: Mapping[str, str],
    history: History,
    items: NDArray[np.float32],
    item_ids: Sequence[str],
    acts: NDArray[np.int64],
    *,
    seed: int,
) -> Report:
    """Return the page.

    Args:
        facts: what was trained on what.
        figures: the first ones are shown large.
        splits: checksums by name.
        history: of the towers with acts held out.
        items: `[I, D]`, the last component being the bias.
        item_ids: I of them.
        acts: `[I]`, how many each item has.
        seed: of the map.
    """
    sections: list[Section] = [
        Curves.of_epochs(
            [epoch.training for epoch in history.epochs],
            [epoch.validation for epoch in history.epochs],
            history.best,
        )
    ]
    vectors, often = items[:, :-1], np.argsort(-acts, kind="stable")
    if len(items) >= _LEAST_MAPPED:
        shown = np.sort(often[:_MAPPED])
        laid_out = project(vectors[shown], seed)
        rows = shown[laid_out.rows]
        names = [item_ids[row] for row in rows.tolist()]
        note = f"Items with the most acts, by their factors. {laid_out.note}"
        popularity = {"acts (log10)": np.log10(acts[rows] + 1.0)}
        sections.append(Map(laid_out.points, names, popularity, note=note))
    nearest = [_answered(row, vectors, item_ids, acts) for row in often[:_QUERIES].tolist()]
    sections.append(
        Neighbours(
            nearest, note="The items with the most acts, and those whose factors point most nearly the same way."
        )
    )
    return Report("Taste", "Factors of users and items", facts, figures, splits, sections)


def _answered(row: int, vectors: NDArray[np.float32], item_ids: Sequence[str], acts: NDArray[np.int64]) -> Answered:
    cosines = vectors @ vectors[row]
    cosines[row] = -np.inf
    nearest = np.argsort(-cosines, kind="stable")[: min(_ANSWERS, len(vectors) - 1)]
    answers = [
        Card(None, item_ids[other], detail=f"{acts[other]:,} acts", score=float(cosines[other]))
        for other in nearest.tolist()
    ]
    return Answered(Card(None, item_ids[row], detail=f"{acts[row]:,} acts"), answers)
