"""A head trained so that neighbours by cosine are of one class: by supervised contrast, ArcFace or proxy anchors.

Features standardised; Dense with batch normalisation, ReLU and dropout; Dense without bias, brought to unit length:
the embedding. Its cosines with a learned direction for each class, times a scale, are the logits of the class. That
scale is fitted to validation data in the end, so that probabilities mean what they say (Guo et al. 2017, "On
Calibration of Modern Neural Networks": one temperature).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

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

Loss = Literal["contrastive", "arcface", "proxy_anchor"]

COSINES = "cosines"

_PREDICTED_AT_ONCE = 512
_WARMUP = 0.1
"""Share of the steps in which the learning rate rises: a head of noise must not undo what the backbone knows."""
_LARGEST_GRADIENT = 5.0


@dataclass(frozen=True, slots=True)
class MetricLearning:
    """The settings.

    Attributes:
        loss: what draws classmates together.
        epochs: at most.
        batch: examples a step.
        learning_rate: at most: it rises from 0 in the first tenth, and falls to 0 along a cosine.
        weight_decay: of AdamW.
        hidden: width of the layer before the embedding.
        dimension: of the embedding.
        dropout: share of the hidden layer left out.
        temperature: of supervised contrast.
        scale: of cosines in logits.
        margin: in radians for ArcFace, a cosine for proxy anchors.
        smoothing: of labels, in the cross-entropy that trains the class beside supervised contrast.
    """

    loss: Loss = "contrastive"
    epochs: int = 20
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    hidden: int = 1024
    dimension: int = 256
    dropout: float = 0.5
    temperature: float = 0.1
    scale: float = 16.0
    margin: float = 0.1
    smoothing: float = 0.1

    @property
    def name(self) -> str:
        """The loss."""
        return self.loss

    def settings(self, seed: int) -> loop.Settings:
        """Return the epochs, of which the best by precision stays."""
        return loop.Settings(self.epochs, recipe.PRECISION, seed=seed)

    def trainee(self, training: Examples, validation: Examples, k: int, seed: int) -> recipe.Trained:
        """Return the network, untrained; see `recipe.Recipe`."""
        return _Trainee(self, training, validation, k, seed)


class _Trainee(ModelTrainee):
    def __init__(self, settings: MetricLearning, training: Examples, validation: Examples, k: int, seed: int) -> None:
        self._settings, self._validation, self._k = settings, validation, k
        steps = settings.epochs * math.ceil(len(training) / settings.batch)
        features = np.asarray(training.inputs, np.float32)
        self._model = network(settings, features, len(training.names), seed)
        compile_for(self._model, settings, steps)

        def batches(rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
            for places in shuffled(len(training), settings.batch, rng):
                yield features[places], training.classes[places]

        super().__init__(self._model, batches)

    def validate(self) -> Mapping[str, float]:
        """Return the figures on the validation part."""
        rows, cosines = self._predict()
        classes = self._validation.classes
        return recipe.judge(rows, probabilities(cosines, classes), Metric.COSINE, classes, self._k)

    def head(self) -> CategoryHead:
        """Return the network with its logits scaled to fit the validation part."""
        _, cosines = self._predict()
        return exported(self._model, fitted_scale(cosines, self._validation.classes), self._validation.names)

    def _predict(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = self._model.predict(self._validation.inputs, batch_size=_PREDICTED_AT_ONCE, verbose=0)
        return outputs[:, : self._settings.dimension], outputs[:, self._settings.dimension :]


def network(settings: MetricLearning, features: NDArray[np.float32], classes: int, seed: int) -> keras.Model:
    """Return the untrained network from `[N, D]` to embeddings and cosines side by side, `[N, E + C]`.

    Args:
        settings: its widths.
        features: `[N, D]`, for the scaler.
        classes: C.
        seed: of the first weights and of dropout.
    """
    tensorflow_noise.silence()
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    given = keras.Input((features.shape[1],), name="features")
    x = standardiser(features, "standardised")(given)
    x = layers.Dense(settings.hidden, use_bias=False)(x)
    # Keras's own .99 would need hundreds of steps to forget where its statistics began: a small shop has fewer.
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.Dropout(settings.dropout)(x)
    return keras.Model(given, embedded(x, settings.dimension, classes))


def embedded(x: Any, dimension: int, classes: int) -> Any:
    """Return embeddings of unit length and their cosines with the classes' directions side by side, `[N, E + C]`.

    Args:
        x: tensor of the layer before, `[N, K]`.
        dimension: E.
        classes: C.
    """
    import keras
    from keras import layers

    rows = layers.UnitNormalization(name=EMBEDDING)(layers.Dense(dimension, use_bias=False)(x))
    unit = keras.constraints.UnitNorm(axis=0)
    directions = layers.Dense(classes, use_bias=False, kernel_constraint=unit, name=COSINES)
    cosines = directions(rows)
    directions.kernel.assign(unit(directions.kernel))
    return layers.Concatenate()([rows, cosines])


def compile_for(model: keras.Model, settings: MetricLearning, steps: int) -> None:
    """Compile a network of `network` for training that ends after `steps` steps."""
    import keras

    objective, dimension = _objective(settings), settings.dimension

    def loss(classes: Any, outputs: Any) -> Any:
        return objective(keras.ops.reshape(classes, (-1,)), outputs[:, :dimension], outputs[:, dimension:])

    def accuracy(classes: Any, outputs: Any) -> Any:
        return keras.metrics.sparse_categorical_accuracy(classes, outputs[:, dimension:])

    warmup = round(_WARMUP * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=settings.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, global_clipnorm=_LARGEST_GRADIENT)
    model.compile(optimizer, loss, metrics=[accuracy])


def exported(model: keras.Model, scale: float, names: tuple[str, ...]) -> CategoryHead:
    """Return what is exported of a network of `network`: its embedding, and `softmax(scale * cosines)`."""
    import keras
    from keras import layers

    rows, directions = model.get_layer(EMBEDDING).output, model.get_layer(COSINES)
    classes = layers.Dense(len(names), use_bias=False, activation="softmax", name=CLASS)
    likely = classes(rows)
    classes.kernel.assign(directions.kernel * scale)
    head = keras.Model(model.input, {EMBEDDING: rows, CLASS: likely})
    return CategoryHead(head, Metric.COSINE, names)


def probabilities(cosines: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return `softmax(scale * cosines)`, `[N, C]`, with the scale fitted to `classes`; see `fitted_scale`."""
    likely: NDArray[np.float32] = softmax(fitted_scale(cosines, classes) * cosines, axis=1)
    return likely


def fitted_scale(cosines: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Return the scale of logits with the least cross-entropy, between 1 and 100.

    Args:
        cosines: `[N, C]`, of examples that weren't trained on.
        classes: `[N]`.
    """
    true = cosines[np.arange(len(classes)), classes]

    def surprise(logarithm: float) -> float:
        scale = np.exp(logarithm)
        return float((logsumexp(scale * cosines, axis=1) - scale * true).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(0.0, np.log(100.0)), method="bounded").x))


def _objective(settings: MetricLearning) -> Callable[[Any, Any, Any], Any]:
    """Return the loss as a function of classes `[N]`, embeddings `[N, E]` and cosines `[N, C]`."""
    from twinset_exporter.training.category import losses

    scale, margin = settings.scale, settings.margin

    def contrastive(classes: Any, rows: Any, cosines: Any) -> Any:
        drawn = losses.supervised_contrastive(classes, rows, temperature=settings.temperature)
        return drawn + losses.cross_entropy(classes, cosines, scale=scale, smoothing=settings.smoothing)

    def arcface(classes: Any, rows: Any, cosines: Any) -> Any:
        return losses.arcface(classes, cosines, scale=scale, margin=margin)

    def proxy_anchor(classes: Any, rows: Any, cosines: Any) -> Any:
        return losses.proxy_anchor(classes, cosines, scale=scale, margin=margin)

    return {"contrastive": contrastive, "arcface": arcface, "proxy_anchor": proxy_anchor}[settings.loss]
