"""One training of a compatibility head, from files to a folder that `export` takes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twinset_exporter import tensorflow_noise
from twinset_exporter.datasets import splits
from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.groups import read_groups
from twinset_exporter.datasets.lines import read_columns
from twinset_exporter.datasets.pairs import read_pairs
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import UsageError
from twinset_exporter.training import features as feature_folder
from twinset_exporter.training import progress
from twinset_exporter.training.compatibility import crossfit, presentation, publication
from twinset_exporter.training.compatibility.categories import numbered
from twinset_exporter.training.compatibility.examples import Examples, Items, Rooms, named, of_pairs, same_looks
from twinset_exporter.training.compatibility.trainer import Recipe
from twinset_exporter.training.run_folder import HEADS, REPORT, RunFolder

KIND = "compatibility"

_ENOUGH_PAIRS = 20_000
"""So many pairs are split once, and the network that was validated serves; fewer are cross-fitted."""

FOLDS = 10
"""At most. Their networks must be nearly as good as the one that serves, for its log odds to be those they calibrated:
with three folds of IKEA's rooms the calibration error was .039 on unseen ones.
"""

_FEWEST = 4
"""Groups or pairs: two folds of two each."""

_VALIDATION_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Table:
    """A delimited file and two of its columns, by name, or by place where it has no row of names."""

    path: Path
    columns: tuple[str, str] | tuple[int, int]
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class Request:
    """What to train on what.

    Attributes:
        features: the folder that `embed` wrote.
        groups: ids of group and item, for items that go together in both directions; or
        pairs: ids of source and target.
        categories: ids and categories of items; None where nothing is known of them.
        recipe: how to train.
        prior: the share of true pairs that the head's probabilities are to hold for, between 0 and 1.
        pictures: where the report finds an item's picture, as ID.jpg or ID.png; None for a report without.
        seed: of the folds and of all chance.
    """

    features: Path
    groups: Table | None
    pairs: Table | None
    categories: Table | None
    recipe: Recipe
    prior: float = 0.5
    pictures: Path | None = None
    seed: int = 0


def run(request: Request, output: Path) -> str:
    """Train, and write the folder; return what to tell in one line.

    Raises:
        UsageError: the request makes no sense, or `output` belongs to another run.
        DataError: a file is broken.
        ExportError: the training failed.
    """
    tensorflow_noise.silence()
    items, fingerprint = _items(request)
    recipe = replace(request.recipe, across=bool(request.groups and items.names))
    parts, whole, checksums = _parts(request, items)
    folder = RunFolder(output)
    with contextlib.closing(folder):
        folder.begin(KIND, {**_settings(request, recipe), "features": fingerprint, "splits": checksums})
        trained = crossfit.train(
            items, parts, whole, recipe, seed=request.seed, watch=progress.training, folder=folder.path
        )
        judged = trained.known if items.names else trained.alone
        pair = publication.contract(trained.sides, prior=request.prior, ece=judged.bins.error)
        with folder.writing(folder.path / publication.HEAD_FILE) as file:
            file.write(publication.network_bytes(trained.sides))
        if items.names:
            folder.write_text(publication.CATEGORIES_FILE, "".join(f"{name}\n" for name in items.names))
        folder.write_text(HEADS, publication.heads_file(trained.sides, pair, items.names))
        true = (whole or parts[0]).true
        folder.write_report(
            presentation.report(items, true, trained, recipe, request.pictures, checksums, request.seed)
        )
    return f"{folder.path / REPORT}: AUC {judged.auc:.3f} on pairs held back, calibration error {judged.bins.error:.3f}"


def _items(request: Request) -> tuple[Items, str]:
    """Return all items that have features, and the features' fingerprint."""
    features = feature_folder.read(request.features)
    if len(set(features.ids)) < len(features.ids):
        raise UsageError(
            f"{request.features} has several rows of one id: embed one picture of each item, with an --id that tells "
            "items apart"
        )
    given = {} if request.categories is None else _categories(request.categories)
    if request.categories is not None and not given.keys() & set(features.ids):
        raise UsageError(
            f"{request.categories.path} names none of the {len(features.ids):,} items in {request.features}, such as "
            f"{features.ids[0]!r}: ids follow embed's --id"
        )
    of_item = [given.get(item_id, "") for item_id in features.ids]
    names = named(of_item)
    looks = same_looks(features.rows)
    return Items(features.ids, features.rows, numbered(of_item, names), names, looks), features.fingerprint


def _categories(table: Table) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, (item_id, category) in read_columns(table.path, table.columns, delimiter=table.delimiter):
        if found.setdefault(item_id, category) != category:
            raise DataError(table.path, f"one category of {item_id!r}", found="a second one", line=number)
        if not category.isprintable():
            raise DataError(table.path, "a category of printable characters", line=number)
    return found


def _parts(request: Request, items: Items) -> tuple[list[Examples], Examples | None, dict[str, str]]:
    """Return the parts that validate, the whole, and the checksum of each split."""
    seed = request.seed
    if request.groups is not None:
        table = request.groups
        group, item = (str(column) for column in table.columns)
        groups = read_groups(
            table.path, group_column=group, item_column=item, delimiter=table.delimiter, item_ids=items.ids
        )
        rooms = Rooms(groups, items)
        if len(groups.group_ids) < _FEWEST:
            raise UsageError(f"{table.path} has {len(groups.group_ids)} groups: {_FEWEST} or more can be validated")
        folds = splits.folds(groups.group_ids, _folds(len(groups.group_ids)), seed=seed)
        try:
            parts = [rooms.part(fold["train"], fold["test"], seed=seed) for fold in folds]
        except ValueError as error:
            raise UsageError(f"{table.path}: {error}: more groups, or larger ones, are needed") from error
        every = np.arange(len(groups.group_ids))
        return parts, rooms.part(every, every[:0], seed=seed), _checksums(folds)
    if request.pairs is None:
        raise UsageError("give what goes together: --groups or --pairs")
    table = request.pairs
    pairs = read_pairs(table.path, columns=table.columns, delimiter=table.delimiter, item_ids=items.ids)
    if len(pairs) < _FEWEST:
        raise UsageError(f"{table.path} has {len(pairs)} pairs: {_FEWEST} or more can be validated")
    if len(pairs) >= _ENOUGH_PAIRS:
        split = splits.pair_parts(pairs, {"train": 1 - _VALIDATION_SHARE, "validation": _VALIDATION_SHARE}, seed=seed)
        part = of_pairs(pairs.rows(split["train"]), pairs.rows(split["validation"]), items, seed=seed)
        return [part], None, _checksums([split])
    folds = splits.folds([str(key) for key in pairs.keys().tolist()], _folds(len(pairs)), seed=seed)
    parts = [of_pairs(pairs.rows(fold["train"]), pairs.rows(fold["test"]), items, seed=seed) for fold in folds]
    return parts, of_pairs(pairs, None, items, seed=seed), _checksums(folds)


def _checksums(found: Sequence[splits.Split]) -> dict[str, str]:
    return {f"fold-{number}": split.checksum for number, split in enumerate(found, start=1)}


def _settings(request: Request, recipe: Recipe) -> dict[str, Any]:
    tables = {"groups": request.groups, "pairs": request.pairs, "categories": request.categories}
    return {
        "recipe": {**asdict(recipe), "metric": recipe.metric.value},
        "prior": request.prior,
        "seed": request.seed,
        **{
            name: None
            if table is None
            else {"sha256": file_sha256(table.path), "columns": list(table.columns), "delimiter": table.delimiter}
            for name, table in tables.items()
        },
    }


def _folds(count: int) -> int:
    """Return how many folds `count` groups or pairs make, each of two or more."""
    return min(FOLDS, count // 2)
