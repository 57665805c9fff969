"""The Keras network of two sides: features and a category in, a vector of the source and one of the target out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.contract import Metric
from twinset.head_contract import CATEGORY
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_exporter.training.compatibility.encoding import Encoding
from twinset_exporter.training.compatibility.network import SOURCE, TARGET, Floats
from twinset_exporter.training.compatibility.sides import SMALLEST_SQUARE, Side, Sides

if TYPE_CHECKING:
    import keras


def build(sides: Sides) -> keras.Model:
    """Return the network: features `[N, D]` float32, and `category` `[N, 1]` int32 where there are categories.

    It answers what `Sides.vectors` does.
    """
    import keras

    features = keras.Input((len(sides.encoding.whitening.mean),), name="features")
    inputs: list[Any] = [features]
    if len(sides.source.category) > 1:
        inputs.append(keras.Input((1,), dtype="int32", name=CATEGORY))
    encoded = _encoded(sides.encoding, features)
    outputs = {
        PAIR_SOURCE: _vectors(sides, SOURCE, sides.source, encoded, inputs[1:]),
        PAIR_TARGET: _vectors(sides, TARGET, sides.target, encoded, inputs[1:]),
    }
    return keras.Model(inputs if len(inputs) > 1 else features, outputs)


def _encoded(encoding: Encoding, features: Any) -> Any:
    from keras import layers, ops

    white = encoding.whitening
    rows = _given(layers.Dense(white.dimension, name="whitening"), features, white.matrix, -(white.mean @ white.matrix))
    if not encoding.likeness:
        return rows
    marks = encoding.landmarks
    apart = _given(layers.Dense(len(marks), name="landmarks"), rows, -2 * marks.T, np.square(marks).sum(axis=1))
    apart = ops.relu(apart + ops.sum(ops.square(rows), axis=1, keepdims=True))
    parts = [rows]
    for number, one in enumerate(encoding.likeness):
        layer = layers.Dense(len(one.shift), name=f"likeness_{number}")
        parts.append(_given(layer, ops.exp(apart * (-1 / one.width)), one.matrix, -one.shift))
    return ops.concatenate(parts, axis=1)


def _vectors(sides: Sides, name: str, side: Side, encoded: Any, category: list[Any]) -> Any:
    from keras import ops

    rows = _rows(name, side, encoded, category)
    vector, carried = rows[:, :-1], rows[:, -1:]
    constant = ops.ones_like(carried)
    if sides.metric is Metric.EUCLIDEAN:
        square = ops.maximum(side.ceiling - carried, SMALLEST_SQUARE)
        carried, constant = ops.sqrt(square), ops.zeros_like(carried)
    return ops.concatenate([vector, carried, constant] if name == SOURCE else [vector, constant, carried], axis=1)


def _rows(name: str, side: Side, encoded: Any, category: list[Any]) -> Any:
    from keras import layers, ops

    width = side.category.shape[1]
    alone = layers.Dense(width, name=f"{name}_alone", use_bias=not category)
    if not category:
        return _given(alone, encoded, side.alone, side.category[0])
    known = ops.cast(category[0] > 0, "float32")
    by_picture = known * _given(layers.Dense(width, use_bias=False, name=f"{name}_known"), encoded, side.known)
    by_picture += (1 - known) * _given(alone, encoded, side.alone)
    table = layers.Embedding(len(side.category), width, name=f"{name}_category")
    return by_picture + layers.Reshape((width,))(_given(table, category[0], side.category))


def _given(layer: Any, inputs: Any, *weights: Floats) -> Any:
    """Return what a layer of given weights makes of its inputs."""
    answer = layer(inputs)
    layer.set_weights(weights)
    return answer
