"""The compatibility model as McAuley trains it, one pair a step (Personalized Machine Learning, ch. 9).

Two things in what is published are not repeated here: the pairs that judge were trained on too, and the model of the
Euclidean distance was trained twice as long, as the one of the inner product went on with its network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_exporter.training.compatibility.network import Floats, Numbers

DIMENSION = 5
DEVIATION = 1e-3
RATE = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """A trained model: `P = sigmoid(c - |a E1 - b E2|^2)`, or `sigmoid(c + <a E1, b E2>)`.

    Attributes:
        metric: EUCLIDEAN or INNER_PRODUCT.
        source: E1, `[D, 5]` float32.
        target: E2, `[D, 5]` float32.
        offset: c.
    """

    metric: Metric
    source: Floats
    target: Floats
    offset: float

    def log_odds(self, features: Floats, sources: Numbers, targets: Numbers) -> Floats:
        """Return the log odds of pairs of items, `[N]`; `features` is `[items, D]`."""
        u, v = features[sources] @ self.source, features[targets] @ self.target
        if self.metric is Metric.INNER_PRODUCT:
            return np.asarray(np.einsum("nd,nd->n", u, v) + self.offset)
        return np.asarray(self.offset - ((u - v) ** 2).sum(axis=1))


class PublishedLoop:
    """The loop, a step at a time.

    Args:
        features: `[N, D]` float32 of all items, which may be mapped from a file.
        metric: EUCLIDEAN or INNER_PRODUCT.
        seed: of the initial weights.
        compiled: whether a step is a graph, which computes the same many times faster; as published it is not.
    """

    def __init__(self, features: Floats, metric: Metric, *, seed: int, compiled: bool = False) -> None:
        import keras
        import tensorflow as tf

        self._features, self._metric = features, metric
        normal = np.random.default_rng(seed).normal
        shape = (features.shape[1], DIMENSION)
        initial = [normal(0, DEVIATION, shape), normal(0, DEVIATION, shape), np.zeros(())]
        self._weights = [keras.Variable(value.astype(np.float32)) for value in initial]
        self._optimizer = keras.optimizers.Adam(RATE)
        self._optimizer.build(self._weights)
        self._step = tf.function(self._eager_step, reduce_retracing=True) if compiled else self._eager_step

    def run(self, pairs: Iterator[tuple[int, int, bool]]) -> None:
        """Take a step with each of `pairs`: source, target, and whether it is true."""
        import tensorflow as tf

        for source, target, true in pairs:
            rows = tf.constant(self._features[source][None]), tf.constant(self._features[target][None])
            self._step(*rows, tf.constant(float(true)))

    def model(self) -> Published:
        """Return the model as it is now."""
        source, target, offset = (np.array(weight.numpy()) for weight in self._weights)
        return Published(self._metric, source, target, float(offset))

    def _eager_step(self, source: Any, target: Any, true: Any) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            e1, e2, offset = (weight.value for weight in self._weights)
            u, v = source @ e1, target @ e2
            near = tf.reduce_sum(u * v) if self._metric is Metric.INNER_PRODUCT else -tf.reduce_sum((u - v) ** 2)
            loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=true, logits=offset + near)
        self._optimizer.apply(tape.gradient(loss, [weight.value for weight in self._weights]))


def steps(
    sources: Numbers, targets: Numbers, others: NDArray[np.integer[Any]], count: int, *, seed: int
) -> Iterator[tuple[int, int, bool]]:
    """Yield `count` steps over the true pairs and as many others, in random order, again and again.

    Args:
        sources: `[P]` of true pairs.
        targets: `[P]`.
        others: `[P]`, in place of each target in a pair that isn't true.
        count: of steps.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    while count > 0:
        for place in rng.permutation(2 * len(sources))[:count].tolist():
            pair, true = place // 2, place % 2 == 1
            yield int(sources[pair]), int(targets[pair] if true else others[pair]), true
        count -= 2 * len(sources)
