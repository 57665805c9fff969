"""Small heads as Keras files: of fixed seeds, so that two of one seed are one head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from twinset_exporter import tensorflow_noise

tensorflow_noise.silence()
import keras  # noqa: E402 - after it was silenced
from keras import layers  # noqa: E402


def save_head(
    file: Path,
    features: int,
    outputs: Mapping[str, int],
    *,
    seed: int = 0,
    activation: str | None = None,
    categories: int = 0,
    plain: Collection[str] = (),
) -> Path:
    """Save a head with a hidden layer and linear `outputs`, each of a dimension, and return its file.

    The weights of an output depend on the seed and its name alone. With `categories` above 0 it has a second input for
    so many, on which all outputs depend but those named in `plain`.
    """
    given = keras.Input((features,))
    hidden = _dense(8, given, f"hidden {seed}", "tanh", None)
    inputs: keras.KerasTensor | list[keras.KerasTensor] = given
    with_category = hidden
    if categories:
        category = keras.Input((1,), dtype="int32", name="category")
        table = layers.Embedding(categories + 1, 8)
        with_category = layers.Add()([hidden, layers.Flatten()(table(category))])
        _set_weights(table, f"table {seed}")
        inputs = [category, given]  # the order is the network's own business
    called = {
        name: _dense(dimension, hidden if name in plain else with_category, f"{name} {seed}", activation, name)
        for name, dimension in outputs.items()
    }
    keras.Model(inputs, called if len(called) > 1 else next(iter(called.values()))).save(file)
    return file


def _dense(
    dimension: int, given: keras.KerasTensor, seed: str, activation: str | None, name: str | None
) -> keras.KerasTensor:
    layer = layers.Dense(dimension, activation=activation, name=name)
    rows = layer(given)
    _set_weights(layer, seed)
    return rows


def _set_weights(layer: layers.Layer, seed: str) -> None:
    random = np.random.default_rng(list(seed.encode()))
    layer.set_weights([random.standard_normal(weights.shape).astype(np.float32) for weights in layer.get_weights()])
