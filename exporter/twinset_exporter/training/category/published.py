"""The head as its authors described it: a feature recommender on ResNet50's features of product photographs.

Features standardised; Dense 1024 with ReLU, dropout of .7, Dense 512 with ReLU (`dense_mid`), dropout of .7, softmax;
balanced class weights; Adam at 4e-4, 32 epochs of batches of 64, a fifth for validation. The embedding is `dense_mid`,
standardised again over the catalogue, compared by Euclidean distance. No epoch is preferred: the last one stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter import tensorflow_noise
from twinset_exporter.training import loop
from twinset_exporter.training.category import recipe
from twinset_exporter.training.category.examples import Examples
from twinset_exporter.training.category.head import CLASS, EMBEDDING, CategoryHead
from twinset_exporter.training.category.scaling import standardiser
from twinset_exporter.training.category.trainee import ModelTrainee, shuffled

if TYPE_CHECKING:
    import keras

MIDDLE = "dense_mid"
_PREDICTED_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Published:
    """The settings, all as published."""

    epochs: int = 32
    batch: int = 64
    learning_rate: float = 4e-4
    hidden: int = 1024
    middle: int = 512
    dropout: float = 0.7

    @property
    def name(self) -> str:
        """`published`."""
        return "published"

    def settings(self, seed: int) -> loop.Settings:
        """Return all epochs, of which the last stays."""
        return loop.Settings(self.epochs, watch=None, seed=seed)

    def trainee(self, training: Examples, validation: Examples, k: int, seed: int) -> recipe.Trained:
        """Return the network, untrained; see `recipe.Recipe`."""
        return _Trainee(self, training, validation, k, seed)


class _Trainee(ModelTrainee):
    def __init__(self, settings: Published, training: Examples, validation: Examples, k: int, seed: int) -> None:
        self._training, self._validation = np.asarray(training.inputs, np.float32), validation
        self._model, self._k = _network(settings, self._training, len(training.names), seed), k
        self._inside = _inside(self._model)

        def batches(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
            for places in shuffled(len(training), settings.batch, rng):
                yield self._training[places], training.classes[places]

        super().__init__(self._model, batches, class_weights=training.weights())

    def validate(self) -> Mapping[str, float]:
        """Return the figures on the validation part."""
        scaler = standardiser(self._predict(self._training)[0], EMBEDDING)
        middle, probabilities = self._predict(np.asarray(self._validation.inputs, np.float32))
        embeddings = np.asarray(scaler(middle), np.float32)
        return recipe.judge(embeddings, probabilities, Metric.EUCLIDEAN, self._validation.classes, self._k)

    def head(self) -> CategoryHead:
        """Return the network with its second scaler, fitted to the middle layer's outputs for what it learned from."""
        import keras

        middle, probabilities = self._inside.outputs
        embedding = standardiser(self._predict(self._training)[0], EMBEDDING)(middle)
        model = keras.Model(self._model.input, {EMBEDDING: embedding, CLASS: probabilities})
        return CategoryHead(model, Metric.EUCLIDEAN, self._validation.names)

    def _predict(self, features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._inside.predict(features, batch_size=_PREDICTED_AT_ONCE, verbose=0)
        return outputs


def _inside(model: keras.Model) -> keras.Model:
    """Return the network with its middle layer as an output."""
    import keras

    return keras.Model(model.input, [model.get_layer(MIDDLE).output, model.output])


def _network(settings: Published, features: Any, classes: int, seed: int) -> keras.Model:
    tensorflow_noise.silence()
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    given = keras.Input((features.shape[1],), name="features")
    x = standardiser(features, "standardised")(given)
    x = layers.Dense(settings.hidden, activation="relu")(x)
    x = layers.Dropout(settings.dropout)(x)
    x = layers.Dense(settings.middle, activation="relu", name=MIDDLE)(x)
    x = layers.Dropout(settings.dropout)(x)
    probabilities = layers.Dense(classes, activation="softmax", name=CLASS)(x)
    model = keras.Model(given, probabilities)
    model.compile(
        keras.optimizers.Adam(settings.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model
