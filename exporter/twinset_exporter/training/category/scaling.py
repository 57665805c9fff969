"""Standardisation as a layer, so that scalers are a part of the network that is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

_EPSILON = 1e-12


def standardiser(rows: NDArray[np.float32], name: str) -> keras.layers.Layer:
    """Return a layer that takes the mean of `rows`, `[N, D]`, from each component and divides by its deviation.

    A component that never varies is left at 0, as by scikit-learn's StandardScaler. The layer is a normalisation by
    fixed statistics: built, and never trained.
    """
    from keras import layers

    variance = rows.var(axis=0, dtype=np.float64)
    layer = layers.BatchNormalization(center=False, scale=False, epsilon=_EPSILON, trainable=False, name=name)
    layer.build((None, rows.shape[1]))
    layer.set_weights([rows.mean(axis=0, dtype=np.float64), np.where(variance > 0, variance, 1.0)])
    return layer
