"""What the report of a compatibility head shows: curves, probabilities against what came true, best partners, a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.compatibility import objective
from twinset_exporter.training.compatibility.categories import UNKNOWN
from twinset_exporter.training.compatibility.crossfit import Trained, Validation
from twinset_exporter.training.compatibility.examples import Items
from twinset_exporter.training.compatibility.network import Floats
from twinset_exporter.training.compatibility.relation import Relation
from twinset_exporter.training.compatibility.trainer import Recipe
from twinset_exporter.training.figure import Figure
from twinset_exporter.training.report.calibration import Bin, Calibration
from twinset_exporter.training.report.curves import Curves
from twinset_exporter.training.report.map import Map
from twinset_exporter.training.report.neighbours import Answered, Card, Neighbours
from twinset_exporter.training.report.projection import project
from twinset_exporter.training.report.report import Report, Section
from twinset_exporter.training.report.table import Table
from twinset_exporter.training.report.thumbnails import of_file

_QUERIES = 12
_PARTNERS = 5
_MOST_CANDIDATES = 20_000
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Shown:
    """Items as the report shows them.

    Args:
        items: all of them.
        pictures: the folder of their pictures, named by id; None for none.
    """

    def __init__(self, items: Items, pictures: Path | None) -> None:
        self.items = items
        self._pictures = pictures
        self.thumbnail = cache(self._thumbnail)

    def category(self, item: int) -> str:
        """Return the name of an item's category, empty where it is unknown."""
        number = int(self.items.categories[item])
        return "" if number == UNKNOWN else self.items.names[number - 1]

    def card(self, item: int, good: bool | None = None, score: float | None = None) -> Card:
        """Return an item as an element of the grid."""
        return Card(self.thumbnail(item), self.items.ids[item], good, self.category(item), score)

    def _thumbnail(self, item: int) -> bytes | None:
        if self._pictures is None:
            return None
        paths = (self._pictures / f"{self.items.ids[item]}{suffix}" for suffix in _SUFFIXES)
        path = next((path for path in paths if path.is_file()), None)
        return None if path is None else of_file(path)


def report(
    items: Items,
    true: Relation,
    trained: Trained,
    recipe: Recipe,
    pictures: Path | None,
    checksums: Mapping[str, str],
    seed: int,
) -> Report:
    """Return the page of one training; `true` are the pairs that it was trained on."""
    judged = {"with categories": trained.known} if items.names else {}
    judged["from pictures alone"] = trained.alone
    shown = Shown(items, pictures)
    used = np.unique(np.concatenate((true.sources, true.targets)))[:_MOST_CANDIDATES]
    sources, targets = trained.sides.vectors(items.features[used], items.categories[used])
    first = trained.histories[0]
    sections: list[Section] = [
        Curves.of_epochs(
            [epoch.training for epoch in first.epochs],
            [epoch.validation for epoch in first.epochs],
            first.best,
            note="Of the first fold. The log loss of validation is that of calibrated probabilities.",
        ),
        *(_calibration(name, validation) for name, validation in judged.items()),
        _partners(shown, true, trained, used, sources, targets, seed, across=recipe.across),
        _map(shown, used, targets, seed),
        Table(
            ("network", "epochs", "kept", "seconds"),
            [(n, len(one.epochs), one.best, round(one.seconds, 1)) for n, one in _named(trained)],
            title="Networks",
            note="Each fold's network judges and calibrates on the pairs that it didn't see; the last one serves.",
        ),
    ]
    figures = [figure for name, validation in judged.items() for figure in _figures(name, validation)]
    best = next(iter(judged.values()))
    return Report(
        "Compatibility head",
        f"AUC {best.auc:.3f} on pairs held back",
        [
            ("items", f"{len(items.ids):,}, {len(used):,} of them in pairs"),
            ("true pairs", f"{len(true):,}, directed"),
            ("categories", f"{len(items.names):,}"),
            ("metric", recipe.metric.value),
            ("vectors", f"{trained.sides.dimension} components"),
            ("seed", str(seed)),
        ],
        figures,
        checksums,
        sections,
    )


def _figures(name: str, validation: Validation) -> list[Figure]:
    protocol = (
        f"{name}: pairs of the folds held back, each judged by the network that didn't see it and calibrated by the "
        f"other folds, against as many at random; {len(validation.truths):,} pairs"
    )
    suffix = "known" if name == "with categories" else "pictures"
    return [
        Figure(f"compatibility.auc.{suffix}", validation.auc, "higher", protocol),
        Figure(f"compatibility.ece.{suffix}", validation.bins.error, "lower", f"{protocol}, 15 bins of equal mass"),
        Figure(f"compatibility.log_loss_gain.{suffix}", validation.log_loss_gain, "higher", f"{protocol}, in nats"),
    ]


def _named(trained: Trained) -> Sequence[tuple[str, Any]]:
    folds = [(f"fold {number}", history) for number, history in enumerate(trained.histories, start=1)]
    if len(folds) > 1:
        folds[-1] = ("whole", trained.histories[-1])
    return folds


def _calibration(name: str, validation: Validation) -> Calibration:
    bins = validation.bins
    rows = zip(bins.predicted.tolist(), bins.observed.tolist(), bins.counts.tolist(), strict=True)
    return Calibration(
        [Bin(predicted, observed, count) for predicted, observed, count in rows],
        bins.error,
        title=f"Calibration, {name}",
        note="On pairs held back, half of them true, in bins of equal size.",
    )


def _partners(
    shown: Shown,
    true: Relation,
    trained: Trained,
    used: NDArray[np.int32],
    sources: Floats,
    targets: Floats,
    seed: int,
    *,
    across: bool,
) -> Neighbours:
    """Return items drawn at random with their best partners; which of these are true is marked.

    With `across` partners are of other categories, as the pairs are that it was trained on.
    """
    drawn = np.random.default_rng(seed).permutation(len(used))[:_QUERIES]
    categories, looks = shown.items.categories[used], shown.items.looks[used]
    rows = []
    for query in drawn.tolist():
        scores = trained.sides.log_odds(np.broadcast_to(sources[query], targets.shape), targets)
        scores[looks == looks[query]] = -np.inf
        if across and categories[query] != UNKNOWN:
            scores[categories == categories[query]] = -np.inf
        best = np.argsort(-scores, kind="stable")[:_PARTNERS]
        best = best[np.isfinite(scores[best])]
        chances = objective.probabilities(scores[best])
        listed = true.holds(np.full(len(best), used[query]), used[best])
        cards = [
            shown.card(int(used[place]), True if good else None, float(chance))
            for place, good, chance in zip(best, listed, chances, strict=True)
        ]
        rows.append(Answered(shown.card(int(used[query])), cards))
    return Neighbours(
        rows,
        title="Best partners",
        note=f"Of items drawn at random, among {'those of other categories' if across else 'all others'}, with the "
        "probability where half of all pairs are true. Pairs that were trained on are marked; of the others nobody "
        "knows.",
    )


def _map(shown: Shown, used: NDArray[np.int32], targets: Floats, seed: int) -> Map:
    laid = project(targets, seed)
    items = used[laid.rows].tolist()
    attributes = {"category": [shown.category(item) or "unknown" for item in items]}
    return Map(
        laid.points,
        [shown.items.ids[item] for item in items],
        attributes,
        [shown.thumbnail(item) for item in items],
        title="Map of what items offer",
        note=f"Items close to each other go with the same things. {laid.note}",
    )
