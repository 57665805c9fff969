"""The published taste models, as they were described, to compare with: triplets under a margin.

A user, an item that the user liked, and a random item: the liked one has to score higher by a margin of 1. The score is
the cosine of two embeddings, or a small network on two embeddings. That one ends in a ReLU as published, so that every
pair below 0 ties with every other; `repaired` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.taste.feedback import Feedback

if TYPE_CHECKING:
    import keras

Score = Literal["cosine", "mlp", "mlp_repaired"]

_MARGIN = 1.0
_BATCH = 64
_L2 = 1e-6
_COSINE_DIMENSION = 64
_USER_DIMENSION, _ITEM_DIMENSION, _HIDDEN, _DROPOUT = 32, 64, 128, 0.1
_SCORED_PAIRS = 262_144

EPOCHS = 15
"""As published."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Which model, and the seed of all chance."""

    score: Score
    seed: int = 0


class Triplet:
    """A model in training; `loop.Trainee` but for `validate`."""

    def __init__(self, feedback: Feedback, settings: Settings) -> None:
        import keras

        keras.utils.set_random_seed(settings.seed)
        self._users, self._items = feedback.acts(liked=True)
        self._item_count = feedback.item_count
        self.network = _network(feedback.user_count, feedback.item_count, settings.score)
        self._optimizer = keras.optimizers.Adam()
        self._optimizer.build(self.network.trainable_variables)
        self._pass = _compiled(self.network, self._optimizer)

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train one pass over all likes, in a new order and with new negatives; return the mean loss of a triplet.

        A negative is any item, also one that the user likes.
        """
        order = rng.permutation(len(self._users))
        negatives = rng.integers(0, self._item_count, len(order))
        loss = self._pass(self._users[order], self._items[order].astype(np.int64), negatives)
        return {"loss": float(loss)}

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the variables of network and optimizer."""
        return {f"{number}": np.array(variable) for number, variable in enumerate(self._variables())}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the variables from `state`."""
        for number, variable in enumerate(self._variables()):
            variable.assign(state[f"{number}"])

    def scores(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of all items for `users`, `[B, I]` float32."""
        pairs = np.repeat(users, self._item_count), np.tile(np.arange(self._item_count), len(users))
        found = self.network.predict(pairs, batch_size=_SCORED_PAIRS, verbose=0)
        return np.asarray(found, np.float32).reshape(len(users), -1)

    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self._optimizer.variables]


def train(feedback: Feedback, settings: Settings, epochs: int = EPOCHS) -> Triplet:
    """Return a model trained for `epochs`, without checkpoint or bar."""
    model = Triplet(feedback, settings)
    for number in range(1, epochs + 1):
        model.epoch(number, np.random.default_rng((settings.seed, number)))
    return model


def _network(users: int, items: int, score: Score) -> keras.Model:
    """Return the network from numbers of users and items, `[N]` each, to scores, `[N, 1]`."""
    import keras
    from keras import layers

    given = [keras.Input((), dtype="int64", name=name) for name in ("user", "item")]

    def embedded(place: int, count: int, dimension: int) -> Any:
        layer = layers.Embedding(count, dimension, embeddings_regularizer=keras.regularizers.L2(_L2))
        return layer(given[place])

    if score == "cosine":
        vectors = [embedded(place, count, _COSINE_DIMENSION) for place, count in enumerate((users, items))]
        return keras.Model(given, layers.Dot(axes=1, normalize=True)(vectors))
    vectors = [embedded(0, users, _USER_DIMENSION), embedded(1, items, _ITEM_DIMENSION)]
    hidden = layers.Dense(_HIDDEN, activation="relu")(layers.Concatenate()(vectors))
    hidden = layers.Dropout(_DROPOUT)(hidden)
    return keras.Model(given, layers.Dense(1, activation="relu" if score == "mlp" else None)(hidden))


def _compiled(network: keras.Model, optimizer: keras.Optimizer) -> Any:
    """Return one pass over triplets, `[N]` each, as a graph: calls from Python would cost more than the work."""
    import tensorflow as tf

    variables = network.trainable_variables

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(users: Any, liked: Any, negatives: Any) -> Any:
        count = tf.shape(users)[0]
        total = tf.constant(0.0)
        for start in tf.range(0, count, _BATCH):
            batch = slice(start, start + _BATCH)
            with tf.GradientTape() as tape:
                better = network([users[batch], liked[batch]], training=True)
                worse = network([users[batch], negatives[batch]], training=True)
                hinge = tf.reduce_mean(tf.nn.relu(_MARGIN - better + worse))
                loss = hinge + tf.add_n(network.losses)
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += hinge * tf.cast(tf.shape(users[batch])[0], tf.float32)
        return total / tf.cast(count, tf.float32)

    return run
