"""The known answer of a model: noise that every release makes alike, and what the model must answer to it, by value."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN_CATEGORY = 0
"""The category of a picture whose item has none, or one that the model doesn't know."""


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What the model must answer to `known_input(seed, count, ...)`, with `known_categories`, by value.

    `values` maps an output to float32 of shape `[count, D]`. An answer is right where no component differs by more than
    `tolerance` times the largest absolute component of the expected one: wide enough for another processor's
    rounding, far too narrow for other weights, swapped rows or a corrupted tensor.
    """

    seed: int
    count: int
    tolerance: float
    values: Mapping[str, NDArray[np.float32]]

    def to_json(self) -> str:
        """Return it as a model's parameter holds it."""
        values = {name: _encode(rows) for name, rows in self.values.items()}
        return json.dumps({"seed": self.seed, "count": self.count, "tolerance": self.tolerance, "values": values})

    @classmethod
    def from_json(cls, text: str) -> KnownAnswer:
        """Return what `to_json` returned as `text`. Raises KeyError, TypeError, ValueError."""
        told = json.loads(text)
        count = int(told["count"])
        values = {name: _decode(rows, count) for name, rows in told["values"].items()}
        return cls(int(told["seed"]), count, float(told["tolerance"]), values)

    def mismatch(self, answer: Mapping[str, NDArray[np.float32]]) -> str | None:
        """Return what is wrong with `answer`, or None where it is right."""
        for name, expected in self.values.items():
            given = answer.get(name)
            if given is None:
                return f"output {name!r} is missing"
            if given.shape != expected.shape:
                return f"output {name!r} has shape {list(given.shape)}, expected {list(expected.shape)}"
            if not np.isfinite(given).all():
                return f"output {name!r} is not finite"
            largest = float(np.abs(given - expected).max())
            bound = self.tolerance * float(np.abs(expected).max())
            if largest > bound:
                return f"output {name!r} differs by {largest:.3g}, allowed {bound:.3g}"
        return None


def known_input(seed: int, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Return `[count, height, width, 3]` uint8 pixels that depend on the arguments alone.

    The bytes are SHAKE-256 of the seed, so that every language and every NumPy makes the same ones.
    """
    size = count * height * width * 3
    digest = hashlib.shake_256(f"twinset known input {seed}".encode()).digest(size)
    return np.frombuffer(digest, dtype=np.uint8).reshape(count, height, width, 3)


def unknown_categories(count: int) -> NDArray[np.int32]:
    """Return `[count, 1]` int32, the categories of pictures of which none is known."""
    return np.full((count, 1), UNKNOWN_CATEGORY, np.int32)


def known_categories(count: int, categories: Sequence[str]) -> NDArray[np.int32]:
    """Return `[count, 1]` int32, the categories beside `count` known pictures: unknown in turn with a known one.

    Those count from the last name down, so that the second of all is K, the largest that the input takes.
    """
    rows = np.arange(count, dtype=np.int32)
    known = len(categories) - (rows // 2) % max(1, len(categories))
    return np.where(rows % 2, known, UNKNOWN_CATEGORY).astype(np.int32)[:, np.newaxis]


def _encode(values: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _decode(text: str, count: int) -> NDArray[np.float32]:
    raw = base64.b64decode(text, validate=True)
    return np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(count, -1)
