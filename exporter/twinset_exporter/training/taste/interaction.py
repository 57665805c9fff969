"""The interaction model: a small network on the factors of a user and an item, to rank a few candidates again.

Its score is the inner product that found the candidates, plus what a hidden layer makes of both. That begins as
nothing, so training starts from the search's own order. The network is the published one (a hidden
layer of 128, dropout .1, triplets under a margin of 1) with two repairs: no ReLU on the score, which made ties of all
that is disliked, and factors as its input, so that it ranks for a user of yesterday too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.factors import FoldIn
from twinset.interaction_contract import ITEM, SCORE, USER
from twinset_exporter.training.taste.feedback import Feedback

if TYPE_CHECKING:
    import keras

_HIDDEN, _DROPOUT = 128, 0.1
_MARGIN = 1.0
_SHOWN = 0.5
_SCORED_PAIRS = 262_144


@dataclass(frozen=True, slots=True)
class Settings:
    """How the network is trained.

    Attributes:
        epochs: each shows another half of every user's acts, and ranks the likes among the other half.
        batch: triplets in a step.
        learning_rate: of Adam.
        seed: of all chance.
    """

    epochs: int = 10
    batch: int = 256
    learning_rate: float = 3e-4
    seed: int = 0


DEFAULT = Settings()


class Interaction:
    """A model in training; `loop.Trainee` but for `validate`."""

    def __init__(
        self,
        feedback: Feedback,
        items: NDArray[np.float32],
        fold_in: FoldIn,
        settings: Settings = DEFAULT,
    ) -> None:
        """Begin.

        Args:
            feedback: to train on.
            items: `[I, D]`, factors that stay as they are.
            fold_in: how users get theirs.
            settings: how.
        """
        import keras

        keras.utils.set_random_seed(settings.seed)
        self._feedback, self._items, self._fold_in, self._settings = feedback, items, fold_in, settings
        self.network = network(items.shape[1], fold_in.temperature)
        self._optimizer = keras.optimizers.Adam(settings.learning_rate)
        self._optimizer.build(self.network.trainable_variables)
        self._pass = _compiled(self.network, self._optimizer, settings.batch)

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train one pass over the likes among a random half of all acts; return the mean loss of a triplet."""
        feedback = self._feedback
        shown = rng.random(len(feedback.items)) < _SHOWN
        users = feedback.users()
        factors = self._fold_in.of_users(
            users[shown], feedback.items[shown], feedback.liked[shown], feedback.user_count
        )
        wanted = rng.permutation(np.flatnonzero(~shown & feedback.liked))
        if not len(wanted):
            return {"loss": 0.0}
        negatives = rng.integers(0, feedback.item_count, len(wanted))
        items = feedback.items[wanted].astype(np.int64)
        return {"loss": float(self._pass(factors, self._items, users[wanted], items, negatives))}

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the variables of network and optimizer."""
        return {f"{number}": np.array(variable) for number, variable in enumerate(self._variables())}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take the variables from `state`."""
        for number, variable in enumerate(self._variables()):
            variable.assign(state[f"{number}"])

    def scores(self, users: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of all items, `[B, I]` float32, for the factors of users, `[B, D]`."""
        count = len(self._items)
        pairs = {USER: np.repeat(users, count, axis=0), ITEM: np.tile(self._items, (len(users), 1))}
        found = self.network.predict(pairs, batch_size=_SCORED_PAIRS, verbose=0)
        return np.asarray(found, np.float32).reshape(len(users), count)

    def _variables(self) -> list[Any]:
        return [*self.network.variables, *self._optimizer.variables]


def network(dimension: int, temperature: float) -> keras.Model:
    """Return the network from factors of users and items, `[N, D]` each, to scores, `[N, 1]`, untrained.

    Args:
        dimension: D.
        temperature: of the users' factors, which a hidden layer takes at the items' scale.
    """
    import keras
    from keras import layers

    user, item = (keras.Input((dimension,), name=name) for name in (USER, ITEM))
    direct = layers.Dot(axes=1)([user, item])
    both = layers.Concatenate()([layers.Rescaling(temperature)(user), item])
    hidden = layers.Dropout(_DROPOUT)(layers.Dense(_HIDDEN, activation="relu")(both))
    change = layers.Dense(1, kernel_initializer="zeros")(hidden)
    return keras.Model([user, item], layers.Add(name=SCORE)([direct, change]), name="interaction")


def train(feedback: Feedback, items: NDArray[np.float32], fold_in: FoldIn, settings: Settings = DEFAULT) -> Interaction:
    """Return a trained model, without validation, checkpoint or bar; see `Interaction`."""
    model = Interaction(feedback, items, fold_in, settings)
    for number in range(1, settings.epochs + 1):
        model.epoch(number, np.random.default_rng((settings.seed, number)))
    return model


def _compiled(network: keras.Model, optimizer: keras.Optimizer, size: int) -> Any:
    """Return one pass over triplets as a graph: calls from Python would cost more than the work."""
    import tensorflow as tf

    variables = network.trainable_variables

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(user_factors: Any, item_factors: Any, users: Any, liked: Any, negatives: Any) -> Any:
        count = tf.shape(users)[0]
        total = tf.constant(0.0)
        for start in tf.range(0, count, size):
            batch = slice(start, start + size)
            user = tf.gather(user_factors, users[batch])
            with tf.GradientTape() as tape:
                better = network([user, tf.gather(item_factors, liked[batch])], training=True)
                worse = network([user, tf.gather(item_factors, negatives[batch])], training=True)
                loss = tf.reduce_mean(tf.nn.relu(_MARGIN - better + worse))
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss * tf.cast(tf.shape(user)[0], tf.float32)
        return total / tf.cast(count, tf.float32)

    return run
