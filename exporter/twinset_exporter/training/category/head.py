"""A trained head as it is exported: a Keras model from features to an embedding and to probabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric

if TYPE_CHECKING:
    import keras

EMBEDDING = "category"
"""The output that fills a space of its name."""

CLASS = "category_class"
"""The output with a probability for each class."""

_BATCH = 512


@dataclass(frozen=True, slots=True)
class CategoryHead:
    """A head.

    Attributes:
        model: `[N, D]` float32 to a dictionary of `EMBEDDING`, `[N, E]`, and `CLASS`, `[N, C]`; its scalers are in it.
        metric: by which embeddings compare.
        classes: C names.
    """

    model: keras.Model
    metric: Metric
    classes: tuple[str, ...]

    def run(self, features: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """Return both outputs for `features`, `[N, D]`."""
        rows = self.model.predict(features, batch_size=_BATCH, verbose=0)
        return {name: np.asarray(values, np.float32) for name, values in rows.items()}

    def save(self, file: Path) -> None:
        """Save it as a `.keras` file."""
        self.model.save(file)

    def table(self, name: str, file: str) -> str:
        """Return the head's table of a `heads.toml`: its file, and what its outputs are for."""
        return (
            f"[heads.{name}]\n"
            f"file = {json.dumps(file)}\n"
            f'outputs.{EMBEDDING} = {{ space = "{EMBEDDING}", metric = "{self.metric.value}" }}\n'
            f"outputs.{CLASS} = {{ classes = {_array(self.classes)} }}\n"
        )


def _array(names: Sequence[str]) -> str:
    # TOML's basic strings are JSON's, but for the one character that JSON lets pass.
    return json.dumps(list(names), ensure_ascii=False).replace("\x7f", "\\u007f")
