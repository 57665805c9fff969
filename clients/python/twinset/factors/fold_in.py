"""Factors of a user from what the user did: a closed form, the same in training and in serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST_LENGTH = np.float32(1e-8)


@dataclass(frozen=True, slots=True, eq=False)
class FoldIn:
    """How users get their factors.

        z = start + (sum of liked[i] over likes + sum of known[i] over other acts) / sqrt(1 + number of acts)
        factors = (z / |z| / temperature, 1)

    Attributes:
        liked: `[I, D - 1]` float32.
        known: `[I, D - 1]` float32.
        start: `[D - 1]` float32.
        temperature: above 0.
    """

    liked: NDArray[np.float32]
    known: NDArray[np.float32]
    start: NDArray[np.float32]
    temperature: float

    def factors(self, likes: NDArray[Any], known: NDArray[Any]) -> NDArray[np.float32]:
        """Return the factors of one user, `[D]` float32.

        Args:
            likes: `[n]`, places of the items that the user likes, each once.
            known: `[m]`, places of the other items that the user acted on, such as low ratings.
        """
        liked = np.repeat([True, False], [len(likes), len(known)])
        rows: NDArray[np.int64] = np.concatenate([likes, known]).astype(np.int64)
        (factors,) = self.of_users(np.zeros(len(rows), np.int64), rows, liked, 1)
        return np.asarray(factors)

    def of_users(
        self, users: NDArray[np.int64], items: NDArray[Any], liked: NDArray[np.bool_], count: int
    ) -> NDArray[np.float32]:
        """Return the factors of `count` users, `[count, D]` float32.

        Args:
            users: `[N]`, whose act each row is, from 0 and rising.
            items: `[N]`, the place of its item.
            liked: `[N]`, whether it is a like.
            count: of the users; those without an act get the same factors.
        """
        sums = np.zeros((count, len(self.start)), np.float32)
        if len(users):
            rows = np.where(liked[:, np.newaxis], self.liked[items], self.known[items])
            present, starts = np.unique(users, return_index=True)
            sums[present] = np.add.reduceat(rows, starts, axis=0)
        acts = np.bincount(users, minlength=count)
        z = self.start + sums / np.sqrt(1 + acts, dtype=np.float32)[:, np.newaxis]
        lengths = np.sqrt((z * z).sum(axis=1, keepdims=True)) + _SMALLEST_LENGTH
        factors = np.ones((count, len(self.start) + 1), np.float32)
        factors[:, :-1] = z / lengths / np.float32(self.temperature)
        return factors
