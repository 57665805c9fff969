"""Losses that draw items of one class together, all on rows of unit length.

`cosines` are those of each row with a learned direction for each class, `[N, C]`; `classes` are `[N]` int.
"""

from __future__ import annotations

import math
from typing import Any

import keras

Tensor = Any
"""A tensor of Keras's backend."""


def supervised_contrastive(classes: Tensor, rows: Tensor, *, temperature: float) -> Tensor:
    """Return the loss of each row, `[N]`: the mean surprise at its classmates among all other rows of the batch.

    Khosla et al. (2020), "Supervised Contrastive Learning", equation 2. A row without classmates has none.

    Args:
        classes: `[N]`.
        rows: `[N, D]`, of unit length.
        temperature: what similarities are divided by.
    """
    ops = keras.ops
    count = ops.shape(rows)[0]
    itself = ops.eye(count)
    similarities = rows @ ops.transpose(rows) / temperature
    # A row isn't among the others: exp(-1e9) is 0 without the NaN that an infinity would leave in the gradient.
    similarities = similarities - 1e9 * itself
    surprise = ops.logsumexp(similarities, axis=1, keepdims=True) - similarities
    same = ops.cast(ops.equal(classes[:, None], classes[None, :]), "float32") - itself
    mates = ops.sum(same, axis=1)
    return ops.sum(ops.where(same > 0, surprise, 0.0), axis=1) / ops.maximum(mates, 1.0)


def arcface(classes: Tensor, cosines: Tensor, *, scale: float, margin: float) -> Tensor:
    """Return the loss of each row, `[N]`: softmax cross-entropy with `margin` radians added to the angle to its class.

    Deng et al. (2019), "ArcFace", equation 3. Past pi the angle would come back, so that there the penalty is linear,
    as in the authors' code.
    """
    ops = keras.ops
    wanted = ops.one_hot(classes, cosines.shape[-1])
    # The slope of arccos is infinite at -1 and 1.
    bounded = ops.clip(cosines, -1 + 1e-6, 1 - 1e-6)
    turned = ops.where(
        bounded > -math.cos(margin), ops.cos(ops.arccos(bounded) + margin), bounded - margin * math.sin(margin)
    )
    logits = scale * ops.where(wanted > 0, turned, cosines)
    return keras.losses.categorical_crossentropy(wanted, logits, from_logits=True)


def proxy_anchor(classes: Tensor, cosines: Tensor, *, scale: float, margin: float) -> Tensor:
    """Return the loss of the batch, a scalar: each class pulls its rows to its direction, and pushes all others away.

    Kim et al. (2020), "Proxy Anchor Loss for Deep Metric Learning", equation 4.
    """
    ops = keras.ops
    wanted = ops.one_hot(classes, cosines.shape[-1])
    pulled = ops.sum(wanted * ops.exp(-scale * (cosines - margin)), axis=0)
    pushed = ops.sum((1 - wanted) * ops.exp(scale * (cosines + margin)), axis=0)
    present = ops.cast(ops.sum(wanted, axis=0) > 0, "float32")
    return ops.sum(ops.log1p(pulled)) / ops.sum(present) + ops.mean(ops.log1p(pushed))


def cross_entropy(classes: Tensor, cosines: Tensor, *, scale: float, smoothing: float) -> Tensor:
    """Return the loss of each row, `[N]`: cross-entropy of `softmax(scale * cosines)` with smoothed labels."""
    wanted = keras.ops.one_hot(classes, cosines.shape[-1])
    return keras.losses.categorical_crossentropy(wanted, scale * cosines, from_logits=True, label_smoothing=smoothing)
