"""Reads a folder of vectors row by row, whatever its format; memory holds the ids and a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.folder import IdRule, id_of
from twinset.vectors.manifest import (
    ID_COLUMN,
    IDS,
    PARQUET,
    TEXT_INDEX,
    TEXT_ROWS,
    TEXT_SEPARATOR,
    Manifest,
    VectorsError,
)

_PARQUET_ROWS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row: `values` `[D]` float32, or `reason` where there are none. `place` names it in messages."""

    place: str
    id: str
    values: NDArray[np.float32]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VectorFolder:
    """A folder whose vectors can be read.

    Attributes:
        path: the folder.
        manifest: what made them, None for a folder from elsewhere.
        fingerprint: of the output that they are, None for a folder from elsewhere.
        id_rule: what ids follow.
        count: rows in all.
        rows: reads them from the start, each time that it is called. Raises VectorsError, where the files end early.
    """

    path: Path
    manifest: Manifest | None
    fingerprint: str | None
    id_rule: IdRule
    count: int
    rows: Callable[[], Iterator[Row]]


def open_vectors(folder: Path, *, space: str, id_rule: IdRule | None) -> VectorFolder:
    """Return the vectors of `folder` that belong into `space`.

    Args:
        folder: as `twinset-exporter embed` wrote it, or with files of the same names from elsewhere.
        space: where the manifest names several outputs, the one that fills this space is read.
        id_rule: how ids follow from file names; None for the manifest's rule, or else `path`. Only the format text
            holds file names; in the others the ids are final, and another rule than the manifest's is an error.

    Raises:
        VectorsError: the files are missing, unfinished, malformed, or don't fit together.
    """
    if not folder.is_dir():
        raise VectorsError(f"there is no folder {folder}: --vectors takes one that twinset-exporter embed wrote")
    manifest = Manifest.read(folder)
    if manifest and not manifest.complete:
        raise VectorsError(f"{folder} is not finished: run the same twinset-exporter embed again to go on")
    rule = id_rule or (manifest.id_rule if manifest else "path")
    output = _output(manifest, folder, space)
    found = manifest.format if manifest else _format(folder)
    if manifest and found != "text" and rule != manifest.id_rule:
        raise VectorsError(
            f"the ids in {folder} were made by --id {manifest.id_rule}, and can't be turned into --id {rule}: "
            "leave --id away, or embed the pictures again"
        )
    try:
        match found:
            case "npy":
                count, rows = _npy(folder, output)
            case "parquet":
                count, rows = _parquet(folder, output)
            case "text":
                count, rows = _text(folder, rule)
    except OSError as error:
        raise VectorsError(f"{error.filename or folder} can't be read: {error.strerror or error}") from error
    made_by = manifest.fingerprint_of(output) if manifest and output else None
    return VectorFolder(folder, manifest, made_by, rule, count, rows)


def _output(manifest: Manifest | None, folder: Path, space: str) -> str | None:
    if manifest is None:
        return None
    filling = [name for name, output in manifest.outputs.items() if output.space == space]
    if filling:
        return filling[0]
    # For an external space any output will do, as long as it is clear which.
    if len(manifest.outputs) == 1:
        return next(iter(manifest.outputs))
    raise VectorsError(
        f"{folder} has the outputs {', '.join(manifest.outputs)}, and none fills the space {space!r}: "
        "choose another --space, or embed one output alone"
    )


def _format(folder: Path) -> str:
    if (folder / PARQUET).exists():
        return "parquet"
    if (folder / TEXT_ROWS).exists():
        return "text"
    if (folder / IDS).exists():
        return "npy"
    raise VectorsError(
        f"{folder} holds no vectors: expected {PARQUET}, {TEXT_ROWS} with {TEXT_INDEX}, or a .npy file with {IDS}"
    )


Rows = tuple[int, Callable[[], Iterator[Row]]]


def _npy(folder: Path, output: str | None) -> Rows:
    paths = [folder / f"{output}.npy"] if output else sorted(folder.glob("*.npy"))
    if len(paths) != 1:
        raise VectorsError(f"{folder} must hold one .npy file, and holds {len(paths)}: move the others away")
    (path,) = paths
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise VectorsError(f"{path} is no array that NumPy can map: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise VectorsError(f"{path} is {vectors.dtype} {list(vectors.shape)}: expected rows of floating-point numbers")
    ids = _lines(folder / IDS)
    if len(ids) != len(vectors):
        raise VectorsError(f"{folder / IDS} has {len(ids):,} lines, {path.name} {len(vectors):,} rows: they must agree")

    def rows() -> Iterator[Row]:
        for number, (item_id, values) in enumerate(zip(ids, vectors, strict=True)):
            yield _row(f"{path}, row {number}", item_id, values)

    return len(ids), rows


def _parquet(folder: Path, output: str | None) -> Rows:
    # Here, so that the other formats need no pyarrow.
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / PARQUET
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise VectorsError(f"{path} is no Parquet file that can be read: {error}") from error
    lists = [field.name for field in file.schema_arrow if _is_vector(field.type)]
    chosen = [name for name in lists if output in (None, name)]
    if ID_COLUMN not in file.schema_arrow.names or len(chosen) != 1:
        raise VectorsError(
            f"{path} must have a column {ID_COLUMN!r} and one of lists of numbers{f', {output!r}' if output else ''}: "
            f"it has the columns {', '.join(file.schema_arrow.names)}"
        )
    (column,) = chosen

    def rows() -> Iterator[Row]:
        number = 0
        with pq.ParquetFile(path) as opened:
            for batch in opened.iter_batches(batch_size=_PARQUET_ROWS, columns=[ID_COLUMN, column]):
                for item_id, values in zip(batch.column(0), batch.column(1), strict=True):
                    place = f"{path}, row {number}"
                    number += 1
                    if not values.is_valid or values.values.null_count:
                        yield _without(place, str(item_id.as_py()), "has no vector, or one with gaps")
                    else:
                        yield _row(place, str(item_id.as_py()), values.values.to_numpy(zero_copy_only=False))

    return file.metadata.num_rows, rows


def _is_vector(kind: Any) -> bool:
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _text(folder: Path, rule: IdRule) -> Rows:
    index = folder / TEXT_INDEX
    names: dict[int, str] = {}
    for line, text in enumerate(_lines(index), start=1):
        name, separator, number = text.rpartition(TEXT_SEPARATOR)
        if not (separator and name and number.strip().isdecimal()):
            raise VectorsError(f"{index}, line {line}: expected a file name, the character \\x01, and a row number")
        row = int(number)
        if row in names:
            raise VectorsError(f"{index}, line {line}: row {row} belongs to {names[row]!r} already")
        names[row] = name

    def rows() -> Iterator[Row]:
        path, left = folder / TEXT_ROWS, set(names)
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines):
                place = f"{path}, line {number + 1}"
                name = names.get(number)
                if name is None:
                    yield _without(place, "", f"{TEXT_INDEX} names no picture for row {number}")
                    continue
                left.remove(number)
                item_id = id_of(PurePosixPath(name), rule)
                try:
                    values = np.array(line.replace(",", " ").split(), dtype=np.float64)
                except ValueError:
                    yield _without(place, item_id, "is not a row of numbers")
                else:
                    yield _row(place, item_id, values)
        if left:
            raise VectorsError(
                f"{path} ends before {len(left):,} of the rows that {TEXT_INDEX} names, the first being {min(left)}"
            )

    return len(names), rows


def _row(place: str, item_id: str, values: NDArray[Any]) -> Row:
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as such
        narrow = np.array(values, dtype=np.float32)
    finite = np.isfinite(narrow)
    if not finite.all():
        return _without(place, item_id, f"component {int(np.argmin(finite))} is not a finite number")
    return Row(place, item_id, narrow)


def _without(place: str, item_id: str, reason: str) -> Row:
    return Row(place, item_id, np.empty(0, np.float32), reason)


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file; an id may hold any character but the line's end."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise VectorsError(f"{path} is not UTF-8 text") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines
