"""The labelled pictures that a category head is trained on, split for validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.cli.progress import counting
from twinset.folder import IdRule
from twinset.images import PictureError, PicturePipeline, decode
from twinset_exporter.datasets import labels
from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.splits import Split, contents
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import UsageError
from twinset_exporter.training.category.examples import Examples, numbered, validation_split

_FEWEST = 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where labelled pictures lie.

    Attributes:
        pictures: their folder.
        table: a row for each item.
        label: the column of the class.
        id_column: the column of the ids.
        delimiter: between the table's fields.
        id_rule: how an item's id follows from its picture's path.
    """

    pictures: Path
    table: Path
    label: str
    id_column: str = "id"
    delimiter: str = ","
    id_rule: IdRule = "path"


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """Items with a label.

    Attributes:
        ids: in the order of the table.
        paths: of their pictures.
        columns: labels by column, that of the class first.
        classes: `[N]` int64, places in `names`.
        names: of the classes.
        unlabelled: how many items of the table have no label, and aren't here.
        split: `train`, and `test` to validate on.
        table: SHA-256 of the table.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    columns: Mapping[str, tuple[str, ...]]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    unlabelled: int
    split: Split
    table: str

    def examples(self, inputs: NDArray[Any]) -> tuple[Examples, Examples]:
        """Return what is trained and what is validated on, of `inputs` with a row for each item."""
        whole = Examples(inputs, self.classes, self.names)
        return whole.part(self.split["train"]), whole.part(self.split["test"])

    def describe(self) -> dict[str, Any]:
        """Return what the result depends on, as JSON holds it."""
        return {
            "label": next(iter(self.columns)),
            "items": len(self.ids),
            "classes": list(self.names),
            "table": self.table,
            "split": self.split.checksum,
        }


def read(source: Source, seed: int) -> Items:
    """Return the labelled items of a folder.

    Args:
        source: where they lie.
        seed: of the split.

    Raises:
        DataError: the table or a picture can't be read, or an item has no picture.
        UsageError: there is nothing to learn: too few items, or one class only.
    """
    found = labels.read(
        source.pictures,
        source.table,
        id_column=source.id_column,
        delimiter=source.delimiter,
        id_rule=source.id_rule,
    )
    if source.label not in found.labels:
        raise UsageError(f"{source.table} has no column {source.label!r}: it has {', '.join(found.labels)}")
    kept = [place for place, label in enumerate(found.labels[source.label]) if label]
    if len(kept) < _FEWEST:
        raise UsageError(f"{source.table} labels {len(kept)} items in {source.label!r}: a head needs {_FEWEST} or more")
    names = [source.label, *(name for name in found.labels if name != source.label)]
    columns = {name: tuple(found.labels[name][place] for place in kept) for name in names}
    ids, paths = tuple(found.ids[place] for place in kept), tuple(found.paths[place] for place in kept)
    classes, class_names = numbered(columns[source.label])
    split = validation_split(ids, contents(paths), seed=seed)
    return Items(ids, paths, columns, classes, class_names, len(found) - len(kept), split, file_sha256(source.table))


def decoded(paths: tuple[Path, ...], side: int) -> NDArray[np.uint8]:
    """Return all pictures as a model of `side` pixels sees them, `[N, side, side, 3]`.

    Raises:
        DataError: one can't be decoded.
    """
    pipeline = PicturePipeline(side, side)
    pictures = np.empty((len(paths), side, side, 3), np.uint8)
    with counting("decoding", len(paths)) as show:
        for place, path in enumerate(paths):
            try:
                pictures[place] = decode(path.read_bytes(), pipeline)
            except PictureError as error:
                raise DataError(path, "a picture", found=str(error)) from error
            show(place + 1)
    return pictures
