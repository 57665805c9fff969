from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from twinset_exporter import tensorflow_noise

tensorflow_noise.silence()
from twinset_exporter.training.category import losses  # noqa: E402 - after TensorFlow was silenced

CLASSES = np.array([0, 1, 0, 2, 1, 0])
RANDOM = np.random.default_rng(1)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS = unit(RANDOM.standard_normal((6, 4)))
COSINES = ROWS @ unit(RANDOM.standard_normal((3, 4))).T


def test_supervised_contrast_is_the_mean_surprise_at_classmates() -> None:
    wanted = []
    for row, own in enumerate(CLASSES):
        others = [other for other in range(6) if other != row]
        total = logsumexp([ROWS[row] @ ROWS[other] / 0.1 for other in others])
        mates = [total - ROWS[row] @ ROWS[other] / 0.1 for other in others if CLASSES[other] == own]
        wanted.append(np.mean(mates) if mates else 0.0)
    told = losses.supervised_contrastive(CLASSES, ROWS, temperature=0.1)
    np.testing.assert_allclose(told, wanted, rtol=1e-4, atol=1e-5)
    assert wanted[3] == 0, "the only one of its class has nobody to be drawn to"


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_arcface_adds_the_margin_to_the_angle_of_the_own_class(margin: float) -> None:
    wanted = []
    for cosines, own in zip(COSINES, CLASSES, strict=True):
        turned = cosines.astype(np.float64)
        turned[own] = np.cos(np.arccos(turned[own]) + margin)
        wanted.append(-log_softmax(16 * turned)[own])
    told = losses.arcface(CLASSES, COSINES, scale=16.0, margin=margin)
    np.testing.assert_allclose(told, wanted, rtol=1e-4, atol=1e-5)


def test_arcface_punishes_the_opposite_direction_most() -> None:
    cosines = np.linspace(-1, 1, 41, dtype=np.float32)[:, None] * np.array([1, 0], np.float32)
    told = np.array(losses.arcface(np.zeros(41, np.int64), cosines, scale=8.0, margin=0.5))
    assert (np.diff(told) < 0).all()


def test_proxy_anchor_pulls_and_pushes_by_class() -> None:
    pulled, pushed = [], []
    for number in range(3):
        own = number == CLASSES
        pulled.append(np.log1p(np.exp(-8 * (COSINES[own, number] - 0.1)).sum()))
        pushed.append(np.log1p(np.exp(8 * (COSINES[~own, number] + 0.1)).sum()))
    told = losses.proxy_anchor(CLASSES, COSINES, scale=8.0, margin=0.1)
    assert float(told) == pytest.approx(np.mean(pulled) + np.mean(pushed), rel=1e-4)


def test_a_class_without_examples_pulls_nothing() -> None:
    four = np.hstack([COSINES, np.full((6, 1), -1, np.float32)])
    three, told = (losses.proxy_anchor(CLASSES, table, scale=8.0, margin=0.1) for table in (COSINES, four))
    pushed = [np.log1p(np.exp(8 * (COSINES[number != CLASSES, number] + 0.1)).sum()) for number in range(3)]
    # The fourth class only adds its push, which is nearly none, to the mean over classes.
    assert float(three) - float(told) == pytest.approx(np.mean(pushed) - (sum(pushed) + 0.0046) / 4, abs=1e-2)


def test_cross_entropy_has_smoothed_labels() -> None:
    wanted = np.full((6, 3), 0.1 / 3)
    wanted[np.arange(6), CLASSES] += 0.9
    told = losses.cross_entropy(CLASSES, COSINES, scale=16.0, smoothing=0.1)
    np.testing.assert_allclose(told, -(wanted * log_softmax(16 * COSINES, axis=1)).sum(axis=1), rtol=1e-4)
