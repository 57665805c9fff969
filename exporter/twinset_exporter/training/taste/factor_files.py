"""Writes a folder of factors; `twinset.factors` says what is in it, and reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.card import FileDigest
from twinset.factors import FoldIn, Manifest
from twinset.factors import manifest as names
from twinset_exporter.held_folder import writing


def write(
    folder: Path,
    *,
    item_ids: Sequence[str],
    items: NDArray[np.float32],
    user_ids: Sequence[str],
    users: Iterable[NDArray[np.float32]],
    fold_in: FoldIn,
    liked_from: float | None = None,
) -> Manifest:
    """Write a folder of factors, and return its manifest, which comes last: without one there are no factors.

    Args:
        folder: made where it doesn't exist.
        item_ids: each once, none with a line break.
        items: `[I, D]`.
        user_ids: the same of users.
        users: their factors in the order of the ids, a few rows `[n, D]` at a time.
        fold_in: how they were made.
        liked_from: the least value of an act that was a like; None where every act was one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names.MANIFEST).unlink(missing_ok=True)
    dimension = items.shape[1]
    _array(folder / names.ITEMS, items.shape, [items])
    _lines(folder / names.ITEM_IDS, item_ids)
    _array(folder / names.USERS, (len(user_ids), dimension), users)
    _lines(folder / names.USER_IDS, user_ids)
    for name, values in ((names.LIKED, fold_in.liked), (names.KNOWN, fold_in.known), (names.START, fold_in.start)):
        _array(folder / name, values.shape, [values])
    files = {name: FileDigest.of_file(folder / name) for name in names.FILES}
    manifest = Manifest(
        names.fingerprint_of(fold_in.temperature, files),
        dimension,
        len(user_ids),
        len(item_ids),
        fold_in.temperature,
        files,
        liked_from=liked_from,
    )
    with writing(folder / names.MANIFEST) as file:
        file.write(manifest.to_json().encode())
    return manifest


def blocks(rows: NDArray[np.float32], size: int = 4096) -> Iterator[NDArray[np.float32]]:
    """Yield `rows`, `[N, D]`, `size` at a time."""
    yield from (rows[start : start + size] for start in range(0, len(rows), size))


def _array(path: Path, shape: tuple[int, ...], parts: Iterable[NDArray[np.float32]]) -> None:
    with writing(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        written = 0
        for part in parts:
            file.write(np.ascontiguousarray(part, "<f4").tobytes())
            written += part.shape[0]
        if written != shape[0]:
            raise ValueError(f"{written} rows for {shape[0]} ids")


def _lines(path: Path, ids: Iterable[str]) -> None:
    with writing(path) as file:
        for one in ids:
            if "\n" in one:
                raise ValueError(f"id {one!r} has a line break")
            file.write(f"{one}\n".encode())
