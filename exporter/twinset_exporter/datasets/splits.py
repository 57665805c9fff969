"""Splits of data into what is trained on and what judges, each with a checksum of what lies where.

All are seeded. A figure names the checksum of its split: two figures compare only under one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.interactions import Interactions
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.digests import file_sha256


@dataclass(frozen=True, slots=True)
class Split:
    """A division into parts.

    Attributes:
        parts: by name, such as `train` and `test`: `[n]` int64, places in what was divided, rising.
        checksum: SHA-256, 64 hexadecimal digits; the order of what was divided doesn't matter.
    """

    parts: Mapping[str, NDArray[np.int64]]
    checksum: str

    def __getitem__(self, part: str) -> NDArray[np.int64]:
        """Return the places of a part, `[n]` int64."""
        return self.parts[part]


def folds(
    ids: Sequence[str], count: int = 5, *, seed: int = 0, together: Sequence[Hashable] | None = None
) -> list[Split]:
    """Return `count` splits into `train` and `test`, in which each id is tested once.

    Args:
        ids: of what is divided: items, or rooms.
        count: of the folds, 2 or more.
        seed: of the order.
        together: a mark for each id: those with one mark stay in one fold, such as items whose pictures are the same
            (`contents`). None lets each id go where it will.

    Raises:
        ValueError: there are fewer marks than folds.
    """
    marks: Sequence[Hashable] = ids if together is None else together
    numbers: dict[Hashable, int] = {}
    cluster = np.array([numbers.setdefault(mark, len(numbers)) for mark in marks], np.int64)
    if not 2 <= count <= len(numbers):
        raise ValueError(f"{count} folds of {len(numbers)}: 2 or more folds, and something in each")
    sizes = np.bincount(cluster)
    fold_of_cluster = np.empty(len(sizes), np.int64)
    fold_sizes = np.zeros(count, np.int64)
    for chosen in np.random.default_rng(seed).permutation(len(sizes)):
        smallest = int(np.argmin(fold_sizes))
        fold_of_cluster[chosen] = smallest
        fold_sizes[smallest] += sizes[chosen]
    fold = fold_of_cluster[cluster]
    places = np.arange(len(ids))
    return [_split({"train": fold != number, "test": fold == number}, (places, ids)) for number in range(count)]


def contents(paths: Iterable[Path]) -> list[str]:
    """Return the SHA-256 of each file: equal ones mark what `folds` keeps together.

    Raises:
        DataError: a file can't be read.
    """
    digests = []
    for path in paths:
        try:
            digests.append(file_sha256(path))
        except OSError as error:
            raise DataError(path, "a picture that can be read", found=error.strerror) from error
    return digests


def held_out(ids: Sequence[str], count: int, *, seed: int) -> Split:
    """Return `count` of the ids as `test`, the others as `train`: users, items or rooms that training never sees.

    Raises:
        ValueError: there aren't more than `count`.
    """
    if not 0 < count < len(ids):
        raise ValueError(f"{count} held out of {len(ids)}: at least 1, and not all")
    test = np.zeros(len(ids), bool)
    test[np.random.default_rng(seed).permutation(len(ids))[:count]] = True
    return _split({"train": ~test, "test": test}, (np.arange(len(ids)), ids))


def held_out_ratings(interactions: Interactions, count: int = 10, *, seed: int) -> Split:
    """Return `count` rows of each user as `test`, the others as `train`, like the split `ua` of MovieLens.

    A user with no more than `count` rows keeps all of them in `train`.
    """
    order = np.random.default_rng(seed).permutation(len(interactions))
    # A stable sort by user keeps the drawn order within each user, and the first rows of each are held out.
    order = order[np.argsort(interactions.users[order], kind="stable")]
    of_user = np.bincount(interactions.users, minlength=len(interactions.user_ids))
    place = np.arange(len(order)) - np.repeat(np.cumsum(of_user) - of_user, of_user)
    test = np.zeros(len(order), bool)
    test[order] = place < count
    test &= of_user[interactions.users] > count
    users, items = (interactions.users, interactions.user_ids), (interactions.items, interactions.item_ids)
    return _split({"train": ~test, "test": test}, users, items)


def pair_parts(pairs: Pairs, fractions: Mapping[str, float], *, seed: int) -> Split:
    """Return the pairs in parts of the given sizes.

    Args:
        pairs: what is divided; a pair and its reverse may come into different parts.
        fractions: by the parts' names, adding up to 1, such as `{"train": 0.8, "validation": 0.1, "test": 0.1}`.
        seed: of the order.

    Raises:
        ValueError: the fractions don't add up to 1, or one is not positive.
    """
    shares = np.array(list(fractions.values()), np.float64)
    if not len(shares) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(f"fractions {dict(fractions)}: each above 0, adding up to 1")
    ends = np.rint(np.cumsum(shares) * len(pairs)).astype(np.int64)
    place = np.empty(len(pairs), np.int64)
    place[np.random.default_rng(seed).permutation(len(pairs))] = np.arange(len(pairs))
    part = np.searchsorted(ends, place, side="right")
    masks = {name: part == number for number, name in enumerate(fractions)}
    return _split(masks, (pairs.left, pairs.item_ids), (pairs.right, pairs.item_ids))


def _split(masks: Mapping[str, NDArray[Any]], *columns: tuple[NDArray[Any], Sequence[str]]) -> Split:
    parts = {name: np.flatnonzero(mask).astype(np.int64) for name, mask in masks.items()}
    digest = hashlib.sha256()
    ranks = []
    for numbers, ids in columns:
        used, places = np.unique(numbers, return_inverse=True)
        names = [ids[number] for number in used.tolist()]
        order = sorted(range(len(names)), key=names.__getitem__)
        digest.update("".join(f"{names[number]}\n" for number in order).encode())
        rank = np.empty(len(order), "<i8")
        rank[order] = np.arange(len(order))
        ranks.append(rank[places])
    rows = np.stack(ranks, axis=1)
    for name in sorted(parts):
        part = rows[parts[name]]
        digest.update(f"\n{name} {len(part)}\n".encode())
        digest.update(part[np.lexsort(part.T)].tobytes())
    return Split(parts, digest.hexdigest())
