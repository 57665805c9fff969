"""What a picture says of an item's taste factors: the features that towers take, and the head that is exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.taste.two_tower import Towers

if TYPE_CHECKING:
    import keras

COMPONENTS = 128

_SMALLEST_DEVIATION = 1e-6
_SMALLEST_LENGTH = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Features as towers take them: standardised, at unit length, then whitened principal components.

    Attributes:
        mean, deviation: `[F]` float32, of each feature.
        components: `[F, K]` float32, each divided by its deviation and by sqrt(K).
        offset: `[K]` float32, taken away in the end.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    components: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], components: int = COMPONENTS) -> Preparation:
        """Return what `features`, `[N, F]`, those to train on alone, make of the next ones.

        Raises:
            ValueError: there are fewer than two rows.
        """
        if len(features) < 2:
            raise ValueError(f"{len(features)} rows of features: at least 2")
        mean, deviation = features.mean(axis=0), features.std(axis=0) + np.float32(_SMALLEST_DEVIATION)
        rows = _unit((features - mean) / deviation)
        center = rows.mean(axis=0)
        _, lengths, directions = np.linalg.svd(rows - center, full_matrices=False)
        count = min(components, len(features) - 1, features.shape[1])
        scale = lengths[:count] / np.sqrt(len(features)) * np.sqrt(count)
        whitening = (directions[:count] / np.maximum(scale, _SMALLEST_DEVIATION)[:, np.newaxis]).T
        return cls(mean, deviation, whitening.astype(np.float32), (center @ whitening).astype(np.float32))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `[N, K]` float32 for `features`, `[N, F]`."""
        return _unit((features - self.mean) / self.deviation) @ self.components - self.offset


def head(preparation: Preparation, towers: Towers) -> keras.Model:
    """Return the head from a picture's features, `[N, F]`, to an item's factors, `[N, D]`.

    The bias of an item that nobody has acted on is the median of all items' biases.

    Raises:
        ValueError: the towers were trained without pictures.
    """
    import keras
    from keras import layers

    if towers.item_map is None:
        raise ValueError("these towers were trained without pictures: nothing leads from features to factors")
    latent = towers.items.shape[1]
    given = keras.Input(preparation.mean.shape)
    # Not `Normalization`, which keeps its numbers as tensors of this process, that no graph can hold.
    scale = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, name="standard")
    rows = layers.UnitNormalization()(scale(given))
    place = layers.Dense(latent, name="place")
    factors = layers.Dense(latent + 1, name="taste")
    network = keras.Model(given, factors(layers.UnitNormalization()(place(rows))))
    scale.set_weights([preparation.mean, preparation.deviation**2])
    place.set_weights([preparation.components @ towers.item_map, -preparation.offset @ towers.item_map])
    bias = np.zeros(latent + 1, np.float32)
    bias[-1] = np.median(towers.bias)
    factors.set_weights([np.eye(latent, latent + 1, dtype=np.float32), bias])
    return network


def factors(preparation: Preparation, towers: Towers, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what `head` computes, `[N, D]` float32, for `features`, `[N, F]`.

    Raises:
        ValueError: the towers were trained without pictures.
    """
    if towers.item_map is None:
        raise ValueError("these towers were trained without pictures: nothing leads from features to factors")
    place = _unit(preparation.apply(features) @ towers.item_map)
    return np.concatenate([place, np.full((len(place), 1), np.median(towers.bias), np.float32)], axis=1)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    units: NDArray[np.float32] = rows / np.maximum(lengths, np.float32(_SMALLEST_LENGTH))
    return units
