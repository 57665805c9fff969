"""A folder of pictures, and a table that says what is on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinset.folder import FolderError, IdRule, read_folder
from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.ids import is_id
from twinset_exporter.datasets.lines import read_columns, read_names


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Pictures in the order of the table.

    Attributes:
        paths: of the picture files.
        ids: of the items.
        labels: by column; an empty text where the table says nothing.
        unlabelled: how many pictures of the folder are not in the table, and so not here.
    """

    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    unlabelled: int

    def __len__(self) -> int:
        return len(self.ids)


def read(
    folder: Path,
    table: Path,
    *,
    id_column: str = "id",
    columns: Sequence[str] | None = None,
    delimiter: str = ",",
    id_rule: IdRule = "stem",
) -> LabelledPictures:
    """Return the pictures of `folder` that `table` names.

    Args:
        folder: of the pictures; folders in it are read too.
        table: delimited text whose first row names its columns.
        id_column: the column of the ids.
        columns: of the labels; None takes all others.
        delimiter: between the fields.
        id_rule: how an id follows from a picture's path; by default its name without extension.

    Raises:
        DataError: the folder or a row can't be read, an id comes twice, or has no picture.
    """
    if columns is None:
        columns = [name for name in read_names(table, delimiter=delimiter) if name != id_column]
    try:
        pictures = read_folder(folder, id_rule).pictures
    except FolderError as error:
        raise DataError(folder, "a folder of pictures with different names", found=str(error)) from error
    lines: dict[str, int] = {}
    labels: dict[str, list[str]] = {column: [] for column in columns}
    for number, (item_id, *texts) in read_columns(table, [id_column, *columns], delimiter=delimiter):
        if not is_id(item_id):
            raise DataError(table, f"an id in column {id_column!r}", found=shown(item_id), line=number)
        if item_id in lines:
            expected = f"each id once, but line {lines[item_id]} has this one too"
            raise DataError(table, expected, found=shown(item_id), line=number)
        # Looked up among the files that there are: an id is never made into a path.
        if item_id not in pictures:
            raise DataError(table, f"the id of a picture in {folder}", found=shown(item_id), line=number)
        lines[item_id] = number
        for column, text in zip(columns, texts, strict=True):
            labels[column].append(text)
    return LabelledPictures(
        tuple(pictures[item_id] for item_id in lines),
        tuple(lines),
        {column: tuple(texts) for column, texts in labels.items()},
        len(pictures) - len(lines),
    )
