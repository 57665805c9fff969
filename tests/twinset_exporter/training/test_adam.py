from __future__ import annotations

import keras
import numpy as np

from twinset_exporter.training.adam import Adam


def test_steps_are_those_of_keras():
    rng = np.random.default_rng(0)
    weight, gradients = rng.standard_normal(5).astype(np.float32), rng.standard_normal((4, 5)).astype(np.float32)
    theirs = keras.Variable(weight.copy())
    optimizer = keras.optimizers.Adam(0.02)
    ours = Adam({"weight": weight.copy()})

    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        ours.step({"weight": gradient}, 0.02)

    np.testing.assert_allclose(ours.weights["weight"], theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_a_restored_optimizer_goes_on_alike():
    gradients = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    whole, stopped, resumed = (Adam({"weight": np.ones(3, np.float32)}) for _ in range(3))
    for gradient in gradients:
        whole.step({"weight": gradient}, 0.1)
    for gradient in gradients[:3]:
        stopped.step({"weight": gradient}, 0.1)

    resumed.restore({name: array.copy() for name, array in stopped.state().items()})
    for gradient in gradients[3:]:
        resumed.step({"weight": gradient}, 0.1)

    np.testing.assert_array_equal(resumed.weights["weight"], whole.weights["weight"])


def test_rows_that_a_step_does_not_name_keep_weights_and_moments():
    optimizer = Adam({"weight": np.ones((3, 2), np.float32)})
    optimizer.step({"weight": np.ones((3, 2), np.float32)}, 0.1)
    before = {name: array.copy() for name, array in optimizer.state().items()}
    optimizer.step({"weight": np.ones((2, 2), np.float32)}, 0.1, rows={"weight": np.array([2, 0])})
    after = optimizer.state()
    for name in ("weight/weight", "mean/weight", "square/weight"):
        np.testing.assert_array_equal(after[name][1], before[name][1])
        assert (after[name][[0, 2]] != before[name][[0, 2]]).all()
