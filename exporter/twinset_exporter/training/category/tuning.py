"""Trains the last blocks of a backbone along with its head, on pictures.

What lies below the cut stays as it is, and is computed anew for every changed picture: without gradients it costs a
fraction of what is trained. Most of the time of training a whole network goes into the first blocks, whose maps are
the largest, and least is won there: edges and textures are the same in all photographs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter import tensorflow_noise
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.errors import UsageError
from twinset_exporter.training import loop
from twinset_exporter.training.category import metric_learning, recipe
from twinset_exporter.training.category.augmentation import Augmentation
from twinset_exporter.training.category.examples import Examples
from twinset_exporter.training.category.head import CategoryHead
from twinset_exporter.training.category.metric_learning import MetricLearning
from twinset_exporter.training.category.trainee import ModelTrainee, shuffled
from twinset_exporter.weights import Weights

if TYPE_CHECKING:
    import keras

AFTER = "block3b_add"
"""Of EfficientNet-Lite0: what lies before it is a twelfth of the time, and would be two thirds if it were trained."""

_PREDICTED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Tuning:
    """The settings.

    Attributes:
        cut: the layer of the backbone after which everything is trained.
        learning: of the head and of what is trained below it; its `hidden` and `dropout` have no use here, since the
            backbone itself is the hidden layer.
        augmentation: of the pictures, new in each epoch.
    """

    cut: str
    learning: MetricLearning
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def name(self) -> str:
        """`tuned`."""
        return "tuned"

    def settings(self, seed: int) -> loop.Settings:
        """Return the epochs, of which the best by precision stays."""
        return self.learning.settings(seed)


def learning(epochs: int) -> MetricLearning:
    """Return how tuning learns: slower than a head, since what it changes knows something already."""
    return MetricLearning(epochs=epochs, learning_rate=5e-4, hidden=0, dropout=0.0)


class TunedBackbone(ModelTrainee):
    """A backbone whose last blocks learn, with the head that they learn for.

    Attributes:
        network: the whole backbone, `[N, H, W, 3]` float32 to `[N, D]`, as trained so far.
    """

    def __init__(
        self,
        settings: Tuning,
        backbone: Backbone,
        weights: Weights,
        training: Examples,
        validation: Examples,
        k: int,
        seed: int,
    ) -> None:
        """Build it.

        Args:
            settings: where it is cut and how it learns.
            backbone: the network.
            weights: that it starts from.
            training: pictures `[N, H, W, 3]` uint8, as the exported model will see them, H and W what it will take.
            validation: likewise.
            k: the neighbours that count in validation.
            seed: of the head's first weights.

        Raises:
            UsageError: the backbone has no layer `cut`, or can't be cut there.
        """
        tensorflow_noise.silence()
        import keras

        keras.utils.set_random_seed(seed)
        self._settings, self._backbone, self._validation, self._k = settings, backbone, validation, k
        self.network = backbone.build(weights, training.inputs.shape[1], training.inputs.shape[2])
        self._below, above = _cut(self.network, settings.cut)
        self._head = _linear_head(above.output.shape[-1], settings.learning.dimension, len(training.names))
        model = keras.Model(above.input, self._head(above.output))
        steps = settings.learning.epochs * math.ceil(len(training) / settings.learning.batch)
        metric_learning.compile_for(model, settings.learning, steps)

        def batches(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
            for places in shuffled(len(training), settings.learning.batch, rng):
                changed = settings.augmentation.apply(training.inputs[places], rng)
                yield self._below.predict_on_batch(backbone.preprocess(changed)), training.classes[places]

        super().__init__(model, batches)

    def validate(self) -> Mapping[str, float]:
        """Return the figures on the validation part."""
        rows, cosines = self._predict()
        classes = self._validation.classes
        probabilities = metric_learning.probabilities(cosines, classes)
        return recipe.judge(rows, probabilities, Metric.COSINE, classes, self._k)

    def head(self) -> CategoryHead:
        """Return the head, on features of `network`."""
        _, cosines = self._predict()
        scale = metric_learning.fitted_scale(cosines, self._validation.classes)
        return metric_learning.exported(self._head, scale, self._validation.names)

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features `[N, D]` of `pictures`, `[N, H, W, 3]`."""
        parts = [
            self.network.predict_on_batch(self._backbone.preprocess(pictures[start : start + _PREDICTED_AT_ONCE]))
            for start in range(0, len(pictures), _PREDICTED_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _predict(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = self._head.predict_on_batch(self.features(self._validation.inputs))
        dimension = self._settings.learning.dimension
        return outputs[:, :dimension], outputs[:, dimension:]


def _cut(network: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """Return what lies below the layer `name`, itself included, and what lies above."""
    import keras

    layer = next((layer for layer in network.layers if layer.name == name), None)
    if layer is None:
        raise UsageError(f"--after {name}: {network.name} has no such layer; it has {', '.join(_cuts(network))}")
    try:
        return keras.Model(network.input, layer.output), keras.Model(layer.output, network.output)
    except ValueError as error:  # a skip connection passes by
        raise UsageError(
            f"--after {name}: {network.name} can't be cut there; choose one of {', '.join(_cuts(network))}"
        ) from error


def _cuts(network: keras.Model) -> list[str]:
    """Return the layers that end a block."""
    return [layer.name for layer in network.layers if layer.name.endswith(("_add", "_out", "_pool", "_project_conv"))]


def _linear_head(features: int, dimension: int, classes: int) -> keras.Model:
    """Return the network from features to embeddings and cosines side by side."""
    import keras

    given = keras.Input((features,), name="features")
    return keras.Model(given, metric_learning.embedded(given, dimension, classes))
