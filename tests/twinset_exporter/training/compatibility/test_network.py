from __future__ import annotations

import numpy as np
import pytest

from twinset_exporter.training.compatibility.categories import descriptors
from twinset_exporter.training.compatibility.network import SOURCE, TARGET, Network, summed

ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
CATEGORIES = np.array([0, 1, 2, 0, 2, 2])


def _network(tied: bool = False) -> Network:
    return Network(4, descriptors(["wall lamp", "table lamp"]), 2, tied)


@pytest.mark.parametrize("side", [SOURCE, TARGET])
def test_gradients_are_those_of_a_sum_over_the_side(side):
    network = _network()
    weights = network.initial(0.5, np.random.default_rng(1))
    slopes = np.random.default_rng(2).standard_normal((6, 3)).astype(np.float32)

    gradients = network.gradients(side, ROWS, CATEGORIES, slopes)

    assert sorted(gradients) == [f"{side}/alone", f"{side}/category", f"{side}/known"]
    for name, gradient in gradients.items():
        for place in np.ndindex(gradient.shape):
            moved = {key: array.copy() for key, array in weights.items()}
            moved[name][place] += 1
            # The side is linear in its weights.
            change = network.side(moved, side, ROWS, CATEGORIES) - network.side(weights, side, ROWS, CATEGORIES)
            assert gradient[place] == pytest.approx(float((change * slopes).sum()), abs=1e-4)


def test_a_category_decides_which_weights_a_picture_meets():
    network = _network()
    weights = network.initial(0.5, np.random.default_rng(1))
    weights["source/known"][:] = 0

    side = network.side(weights, SOURCE, ROWS, CATEGORIES)

    known = CATEGORIES > 0
    np.testing.assert_allclose(side[known], network.category_rows(weights, SOURCE)[CATEGORIES[known]], rtol=1e-5)
    assert np.abs(side[~known] - network.category_rows(weights, SOURCE)[0]).max() > 0.1


def test_tied_sides_are_one():
    network = _network(tied=True)
    weights = network.initial(0.5, np.random.default_rng(1))

    np.testing.assert_array_equal(
        network.side(weights, SOURCE, ROWS, CATEGORIES), network.side(weights, TARGET, ROWS, CATEGORIES)
    )


def test_rows_are_summed_by_their_places():
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)

    np.testing.assert_array_equal(summed(rows, np.array([2, 0, 2, 2]), 4), [[2, 3], [0, 0], [10, 13], [0, 0]])
    np.testing.assert_array_equal(summed(rows[:0], np.array([], int), 2), np.zeros((2, 2)))
