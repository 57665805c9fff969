"""Reads a folder of factors: arrays mapped, ids as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.card import FileDigest
from twinset.factors.fold_in import FoldIn
from twinset.factors.manifest import ITEM_IDS, ITEMS, KNOWN, LIKED, START, USER_IDS, USERS, FactorsError, Manifest


@dataclass(frozen=True, slots=True, eq=False)
class FactorRows:
    """The factors of items or of users.

    Attributes:
        values: `[N, D]` float32, mapped, read-only.
        ids_file: has the id of each row, one a line.
    """

    values: NDArray[np.float32]
    ids_file: Path

    def __len__(self) -> int:
        return len(self.values)

    def ids(self) -> Iterator[str]:
        """Yield the ids in the order of the rows.

        Raises:
            FactorsError: there are more or fewer than rows, or they are no text.
        """
        found = 0
        try:
            with self.ids_file.open(encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    found += 1
                    yield line.removesuffix("\n")
        except UnicodeDecodeError as error:
            raise FactorsError(f"{self.ids_file} is not UTF-8 text: train again") from error
        except OSError as error:
            raise FactorsError(f"{self.ids_file} can't be read: {error.strerror}") from error
        if found != len(self.values):
            raise FactorsError(f"{self.ids_file} has {found:,} lines for {len(self.values):,} rows: train again")

    def batches(self, size: int = 4096) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Yield ids and factors, `[n, D]`, of `size` rows at a time.

        Raises:
            FactorsError: as `ids`, or a factor is not finite.
        """
        ids = self.ids()
        for start in range(0, len(self.values), size):
            rows = np.array(self.values[start : start + size])
            names = list(islice(ids, len(rows)))
            if not np.isfinite(rows).all():
                bad = start + int(np.argmin(np.isfinite(rows).all(axis=1)))
                raise FactorsError(f"row {bad} of {self.ids_file.stem} has factors that are not finite: train again")
            yield names, rows
        for _ in ids:  # to the end, where the number of lines is checked
            pass


@dataclass(frozen=True, slots=True, eq=False)
class FactorFolder:
    """Factors of users and items of one fingerprint, and how a user gets some anew."""

    path: Path
    manifest: Manifest
    items: FactorRows
    users: FactorRows
    fold_in: FoldIn

    def check(self) -> None:
        """Read every file once and compare it with its digest; about .2 s for 100 MB.

        Raises:
            FactorsError: a file is not the one that was written.
        """
        for name, expected in self.manifest.files.items():
            if (actual := FileDigest.of_file(self.path / name)) != expected:
                raise FactorsError(
                    f"{self.path / name}: SHA-256 is {actual}, the manifest says {expected}: copy the folder again"
                )


def open_factors(folder: Path) -> FactorFolder:
    """Return the factors in `folder`. Shapes and types are checked here, contents by `check`.

    Raises:
        FactorsError: the folder is unfinished, damaged, or no folder of factors.
    """
    manifest = Manifest.read(folder)
    dimension, items = manifest.dimension, manifest.items
    start = _array(folder / START, (dimension - 1,))
    liked, known = (_array(folder / name, (items, dimension - 1)) for name in (LIKED, KNOWN))
    return FactorFolder(
        folder,
        manifest,
        FactorRows(_array(folder / ITEMS, (items, dimension)), folder / ITEM_IDS),
        FactorRows(_array(folder / USERS, (manifest.users, dimension)), folder / USER_IDS),
        FoldIn(liked, known, start, manifest.temperature),
    )


def _array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        # An array without rows can't be mapped.
        values = np.load(path, mmap_mode="r" if all(shape) else None, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise FactorsError(f"{path} is damaged or missing ({error}): copy the folder again") from error
    if values.dtype != np.dtype("<f4") or values.shape != shape:
        raise FactorsError(
            f"{path} is {values.dtype} {list(values.shape)}, the manifest says float32 {list(shape)}: "
            "the files don't belong together"
        )
    found: NDArray[np.float32] = values
    return found
