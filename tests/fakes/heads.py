"""Small heads as Keras files: of fixed seeds, so that two of one seed are one head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from twinset_exporter import tensorflow_noise

tensorflow_noise.silence()
import keras  # noqa: E402 - after it was silenced
from keras import layers  # noqa: E402


def save_head(
    file: Path, features: int, outputs: Mapping[str, int], *, seed: int = 0, activation: str | None = None
) -> Path:
    """Save a head with a hidden layer and linear `outputs`, each of a dimension, and return its file.

    The weights of an output depend on the seed and its name alone.
    """
    given = keras.Input((features,))
    hidden = _dense(8, given, f"hidden {seed}", "tanh", None)
    called = {
        name: _dense(dimension, hidden, f"{name} {seed}", activation, name) for name, dimension in outputs.items()
    }
    keras.Model(given, called if len(called) > 1 else next(iter(called.values()))).save(file)
    return file


def _dense(
    dimension: int, given: keras.KerasTensor, seed: str, activation: str | None, name: str | None
) -> keras.KerasTensor:
    random = np.random.default_rng(list(seed.encode()))
    layer = layers.Dense(dimension, activation=activation, name=name)
    rows = layer(given)
    layer.set_weights([random.standard_normal(weights.shape).astype(np.float32) for weights in layer.get_weights()])
    return rows
