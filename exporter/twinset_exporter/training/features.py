"""Features of pictures, as `twinset-exporter embed --outputs features` wrote them: training sees what serving sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.vectors.manifest import IDS, Manifest, VectorsError
from twinset_exporter.errors import UsageError

OUTPUT = "features"

_BLOCK = 4096
"""Rows looked at together."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Rows of one model's output.

    Attributes:
        path: the folder.
        ids: of the items, by row.
        rows: `[N, D]` float32, mapped from the file, read-only.
        model: the model's name in its repository.
        output: which of its outputs.
        fingerprint: of that output, 64 hexadecimal digits.
        pictures: SHA-256 over what was embedded.
    """

    path: Path
    ids: tuple[str, ...]
    rows: NDArray[np.float32]
    model: str
    output: str
    fingerprint: str
    pictures: str

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.rows.shape[1])

    def places(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of `ids`, `[len(ids)]` int64, in their order.

        Raises:
            UsageError: some have no features.
        """
        row = {item_id: number for number, item_id in enumerate(self.ids)}
        missing = [item_id for item_id in ids if item_id not in row]
        if missing:
            raise UsageError(
                f"{self.path} has no features of {len(missing):,} of {len(ids):,} items, the first being "
                f"{missing[0]!r}: embed their pictures too; ids follow embed's --id"
            )
        return np.array([row[item_id] for item_id in ids], np.int64)


def read(folder: Path, output: str = OUTPUT) -> Features:
    """Return the features in `folder`.

    Raises:
        UsageError: it holds none, is unfinished, damaged or not finite, or has another output or format.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: make it with {_command(folder, output)}")
    try:
        manifest = Manifest.read(folder)
    except VectorsError as error:
        raise UsageError(str(error)) from error
    if manifest is None:
        raise UsageError(
            f"{folder} has no manifest, so nobody knows which model made its vectors: make it with "
            f"{_command(folder, output)}"
        )
    if output not in manifest.outputs:
        raise UsageError(
            f"{folder} holds {', '.join(manifest.outputs)} and no {output}: embed again with --outputs {output}"
        )
    if manifest.format != "npy":
        raise UsageError(f"{folder} is in the format {manifest.format}: embed again with --format npy")
    if not manifest.complete:
        raise UsageError(f"{folder} is not finished: run the same twinset-exporter embed again to go on")
    path, ids = folder / f"{output}.npy", _ids(folder / IDS)
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UsageError(f"{path} is damaged or missing ({error}): embed again") from error
    dimension = manifest.outputs[output].dimension
    if rows.dtype != np.float32 or rows.shape != (len(ids), dimension):
        raise UsageError(
            f"{path} is {rows.dtype} {list(rows.shape)}, and {len(ids):,} ids and the manifest say float32 "
            f"{[len(ids), dimension]}: embed again"
        )
    broken = _first_not_finite(rows)
    if broken is not None:
        raise UsageError(f"{path}, row {broken}, {ids[broken]!r}: a number is not finite: embed again")
    return Features(folder, ids, rows, manifest.model, output, manifest.fingerprint_of(output), manifest.pictures)


def _first_not_finite(rows: NDArray[np.float32]) -> int | None:
    # In blocks: what is read is a file that may be larger than memory.
    for start in range(0, len(rows), _BLOCK):
        broken = np.flatnonzero(~np.isfinite(rows[start : start + _BLOCK]).all(axis=1))
        if len(broken):
            return start + int(broken[0])
    return None


def _ids(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8").split("\n")[:-1])
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged or missing ({error}): embed again") from error


def _command(folder: Path, output: str) -> str:
    return f"twinset-exporter embed PICTURES --outputs {output} --output {folder}"
