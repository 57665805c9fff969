"""One training of a category head, from files to a folder that `export` takes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import UsageError
from twinset_exporter.measures.neighbours import nearest, precision
from twinset_exporter.training import features as feature_folder
from twinset_exporter.training import loop
from twinset_exporter.training.category import items, presentation, recipe, selection
from twinset_exporter.training.category.head import CLASS, EMBEDDING
from twinset_exporter.training.category.items import Items, Source
from twinset_exporter.training.category.presentation import Shown
from twinset_exporter.training.category.recipe import Recipe
from twinset_exporter.training.category.selection import Candidate
from twinset_exporter.training.category.tuning import TunedBackbone, Tuning
from twinset_exporter.training.figure import Figure
from twinset_exporter.training.progress import training as bar
from twinset_exporter.training.report.report import Report
from twinset_exporter.training.run_folder import HEADS, RunFolder
from twinset_exporter.weights import Weights

HEAD = "category"
HEAD_FILE = "category.keras"
BACKBONE_FILE = "backbone.keras"
"""A backbone that was tuned."""

_MOST_COLOURS = 50


@dataclass(frozen=True, slots=True)
class Request:
    """What both kinds of training are told.

    Attributes:
        source: of the labelled pictures.
        k: the neighbours among which precision is judged.
        seed: of the split and of all chance.
    """

    source: Source
    k: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: the candidates, the one that was taken, and the precision of the features as they are."""

    candidates: Sequence[Candidate]
    best: Candidate
    plain: float


def train_head(request: Request, features: Path, recipes: Sequence[Recipe], output: Path) -> Outcome:
    """Train a head on features by each of `recipes`, and keep the best in `output`.

    Raises:
        UsageError: what was asked for doesn't fit the data, or `output` belongs to another run.
        DataError: a file can't be read.
        KeyboardInterrupt: Ctrl-C; run it again to go on.
    """
    with contextlib.closing(RunFolder(output)) as folder:
        found, cache = _items(request), feature_folder.read(features)
        rows = np.ascontiguousarray(cache.rows[cache.places(found.ids)])
        run = {**found.describe(), "features": cache.fingerprint, "pictures": cache.pictures}
        folder.begin("category", {**run, **_settings(request), "recipes": [recipe.described(one) for one in recipes]})
        training, validation = found.examples(rows)
        candidates = [
            selection.train(one, training, validation, request.k, request.seed, output / one.name, bar)
            for one in recipes
        ]
        best = selection.best(candidates)
        plain = _precision(validation.inputs, validation.classes, request.k)
        facts = [("Features", f"{cache.model}, {cache.dimension:,} dimensions")]
        outcome = Outcome(candidates, best, plain)
        _write(folder, request, found, outcome, validation.inputs, facts)
    return outcome


def tune_backbone(
    request: Request, tuning: Tuning, backbone: Backbone, weights: Weights, side: int, output: Path
) -> Outcome:
    """Train the last blocks of a backbone with its head, on pictures of `side` pixels; see `train_head`."""
    with contextlib.closing(RunFolder(output)) as folder:
        found = _items(request)
        run = {**found.describe(), "backbone": backbone.name, "weights": weights.identity(), "side": side}
        folder.begin("backbone", {**run, **_settings(request), "recipes": [recipe.described(tuning)]})
        training, validation = found.examples(items.decoded(found.paths, side))
        tuned = TunedBackbone(tuning, backbone, weights, training, validation, request.k, request.seed)
        plain = _precision(tuned.features(validation.inputs), validation.classes, request.k)
        settings = tuning.settings(request.seed)
        with bar(tuning.name, settings) as progress:
            history = loop.fit(tuned, settings, output, progress)
        best = Candidate(tuning, tuned.head(), history, tuned.validate())
        tuned.network.save(output / BACKBONE_FILE)
        facts = [("Backbone", f"{backbone.name}, tuned after {tuning.cut}, pictures of {side} x {side} pixels")]
        outcome = Outcome([best], best, plain)
        _write(folder, request, found, outcome, tuned.features(validation.inputs), facts)
    return outcome


def _items(request: Request) -> Items:
    found = items.read(request.source, request.seed)
    held = len(found.split["test"])
    if request.k >= held:
        raise UsageError(
            f"--neighbours {request.k}: an item of the validation part has {held - 1} others: choose no more, or bring "
            "more items"
        )
    return found


def _settings(request: Request) -> dict[str, int]:
    return {"neighbours": request.k, "seed": request.seed}


def _precision(rows: NDArray[np.float32], classes: NDArray[np.int64], k: int) -> float:
    return precision(nearest(rows, None, k, Metric.COSINE), classes, classes)


def _write(
    folder: RunFolder,
    request: Request,
    found: Items,
    outcome: Outcome,
    features: NDArray[np.float32],
    facts: Sequence[tuple[str, str]],
) -> None:
    """Write head, heads.toml, figures and report; `features` are those of the validation part."""
    best = outcome.best
    best.head.save(folder.path / HEAD_FILE)
    folder.write_text(HEADS, best.head.table(HEAD, HEAD_FILE))
    outputs, places = best.head.run(features), found.split["test"].tolist()
    shown = Shown(
        ids=[found.ids[place] for place in places],
        attributes=_attributes(found, places),
        embeddings=outputs[EMBEDDING],
        probabilities=outputs[CLASS],
        classes=found.classes[found.split["test"]],
        names=found.names,
        metric=best.head.metric,
        thumbnail=presentation.thumbnails([found.paths[place] for place in places]),
    )
    label = next(iter(found.columns))
    folder.write_report(
        Report(
            title="Category head",
            subtitle=(
                f"{best.recipe.name}: precision@{request.k} by {label} {best.figures[recipe.PRECISION]:.3f}, plain "
                f"features {outcome.plain:.3f}"
            ),
            facts=[
                ("Learned", f"{label}, {len(found.names):,} classes"),
                ("Items", f"{len(found.ids):,}, {found.unlabelled:,} more without a label"),
                ("Validation", f"{len(places):,} items, a fifth; the same picture is never on both sides"),
                *facts,
                ("Seed", str(request.seed)),
            ],
            figures=_figures(request, outcome, label),
            splits={"validation": found.split.checksum},
            sections=[
                presentation.compared(outcome.candidates, outcome.plain, request.k),
                *(presentation.curves(f"Curves: {one.recipe.name}", one.history) for one in outcome.candidates),
                presentation.item_map(shown, request.seed),
                presentation.neighbours(shown, request.k, request.seed),
                presentation.confusion(shown),
                presentation.calibration(shown),
            ],
        )
    )


def _attributes(found: Items, places: Sequence[int]) -> dict[str, Sequence[str]]:
    """Return the columns that colour a map: the class, and others with few enough values to tell apart."""
    columns = {name: [values[place] for place in places] for name, values in found.columns.items()}
    label = next(iter(columns))
    return {name: texts for name, texts in columns.items() if name == label or len(set(texts)) <= _MOST_COLOURS}


def _figures(request: Request, outcome: Outcome, label: str) -> list[Figure]:
    figures, k = outcome.best.figures, request.k
    part = f"a fifth of the items that wasn't trained on, but chose epoch and head; seed {request.seed}"
    near = f"share of the {k} nearest with the query's {label}, each item asking among the others of the part"
    return [
        Figure("category.precision", figures[recipe.PRECISION], "higher", f"{part}: {near}"),
        Figure("category.precision_plain", outcome.plain, "higher", f"{part}: {near}, features as they are, cosine"),
        Figure("category.accuracy", figures[recipe.ACCURACY], "higher", f"{part}: the most probable class is right"),
    ]
