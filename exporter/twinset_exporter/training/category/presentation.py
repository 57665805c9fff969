"""What the report of a category head shows: curves, map, neighbours, confusion, calibration, and what was compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.measures.calibration import reliability
from twinset_exporter.measures.neighbours import nearest
from twinset_exporter.training.category import recipe
from twinset_exporter.training.category.selection import Candidate
from twinset_exporter.training.loop import History
from twinset_exporter.training.report.calibration import Bin, Calibration
from twinset_exporter.training.report.confusion import Confusion
from twinset_exporter.training.report.curves import Curves
from twinset_exporter.training.report.map import Map
from twinset_exporter.training.report.neighbours import Answered, Card, Neighbours
from twinset_exporter.training.report.projection import project
from twinset_exporter.training.report.table import Table

_QUERIES = 12
_MOST_ON_MAP = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Items of the validation part with what the head says of them.

    Attributes:
        ids: of the items.
        attributes: further labels by column, for the map's colours.
        embeddings: `[N, E]`.
        probabilities: `[N, C]`.
        classes: `[N]`, the true classes.
        names: of the classes.
        metric: by which embeddings compare.
        thumbnail: gives the picture of the item in a row, None where it can't be shown.
    """

    ids: Sequence[str]
    attributes: dict[str, Sequence[str]]
    embeddings: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    metric: Metric
    thumbnail: Callable[[int], bytes | None]

    def label(self, row: int) -> str:
        """Return the true class of a row by name."""
        return self.names[int(self.classes[row])]


def curves(title: str, history: History) -> Curves:
    """Return the curves of a training."""
    return Curves.of_epochs(
        [epoch.training for epoch in history.epochs],
        [epoch.validation for epoch in history.epochs],
        history.best,
        title=title,
        note="The vertical line marks the epoch whose weights were kept. The two losses of metric learning differ in "
        "kind: training's draws classmates together, validation's is the surprise at the true class.",
    )


def compared(candidates: Sequence[Candidate], plain: float, k: int) -> Table:
    """Return the candidates beside the plain features, whose precision is `plain`."""
    rows = [("features as they are", plain, "", "", "", "")] + [
        (
            one.recipe.name,
            one.figures[recipe.PRECISION],
            one.figures[recipe.ACCURACY],
            one.figures[recipe.LOSS],
            f"{one.history.best} of {len(one.history.epochs)}",
            f"{one.history.seconds:.1f} s",
        )
        for one in candidates
    ]
    return Table(
        ("head", f"precision@{k}", "accuracy", "surprise (nats)", "epoch kept", "trained in"),
        rows,
        title="Compared",
        note="All on the validation part. The head with the highest precision was taken.",
    )


def neighbours(shown: Shown, k: int, seed: int) -> Neighbours:
    """Return a grid of queries with their neighbours: half drawn at random, half those that fare worst."""
    found = nearest(shown.embeddings, None, k, shown.metric)
    hits = (shown.classes[found] == shown.classes[:, None]).sum(axis=1)
    rng = np.random.default_rng(seed)
    random = rng.permutation(len(hits))[: _QUERIES // 2]
    worst = [row for row in np.argsort(hits, kind="stable").tolist() if row not in random][: _QUERIES // 2]
    rows = [
        Answered(
            Card(shown.thumbnail(row), shown.ids[row], detail=shown.label(row)),
            [
                Card(
                    shown.thumbnail(place),
                    shown.ids[place],
                    good=bool(shown.classes[place] == shown.classes[row]),
                    detail=shown.label(place),
                )
                for place in found[row].tolist()
            ],
        )
        for row in [*random.tolist(), *worst]
    ]
    return Neighbours(
        rows,
        note=f"Among the validation part. The first {len(random)} queries are drawn at random, the rest fare worst.",
    )


def item_map(shown: Shown, seed: int) -> Map:
    """Return the map of the items, coloured by what is true of them and by what is predicted."""
    laid = project(shown.embeddings, seed, _MOST_ON_MAP)
    rows = laid.rows.tolist()
    predicted = shown.probabilities.argmax(axis=1)
    attributes: dict[str, Sequence[str]] = {
        name: [values[row] for row in rows] for name, values in shown.attributes.items()
    }
    attributes["predicted"] = [shown.names[predicted[row]] for row in rows]
    return Map(
        laid.points,
        [shown.ids[row] for row in rows],
        attributes,
        [shown.thumbnail(row) for row in rows],
        note=f"The validation part. {laid.note}",
    )


def confusion(shown: Shown) -> Confusion:
    """Return what was taken for what."""
    counts = np.zeros((len(shown.names), len(shown.names)), np.int64)
    np.add.at(counts, (shown.classes, shown.probabilities.argmax(axis=1)), 1)
    return Confusion(shown.names, counts, note="The most probable class of each item of the validation part.")


def calibration(shown: Shown) -> Calibration:
    """Return how often the most probable class was right."""
    sure = shown.probabilities.max(axis=1)
    bins = reliability(shown.probabilities.argmax(axis=1) == shown.classes, np.clip(sure, 0, 1))
    rows = zip(bins.predicted.tolist(), bins.observed.tolist(), bins.counts.tolist(), strict=True)
    return Calibration(
        [Bin(predicted, observed, count) for predicted, observed, count in rows],
        bins.error,
        note="The probability of the most probable class, on the validation part, in bins of equal size. Heads by "
        "metric learning have their one scale fitted to this part, those as published are as they are.",
    )


def thumbnails(paths: Sequence[Path]) -> Callable[[int], bytes | None]:
    """Return what gives the thumbnail of the picture at a place; each is made once."""
    from functools import cache

    from twinset_exporter.training.report.thumbnails import of_file

    return cache(lambda place: of_file(paths[place]))
