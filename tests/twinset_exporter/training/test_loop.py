from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.training.loop import CHECKPOINT, Epoch, History, Settings, State, fit

SETTINGS = Settings(epochs=6, watch="error", better="lower", seed=3)


class Line:
    """Fits a slope by noisy steps with momentum: what it ends with depends on every epoch's chance and state."""

    def __init__(self, errors: Mapping[int, float] | None = None, stop_in: int | None = None) -> None:
        self.weights = np.zeros(2, np.float32)
        self.momentum = np.zeros(2, np.float32)
        self.trained: list[int] = []
        self._errors, self._stop_in = errors, stop_in

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        self.trained.append(number)
        for _ in range(3):
            step = self.weights - np.array([2, -1]) + rng.normal(0, 0.3, 2)
            self.momentum = (0.9 * self.momentum + 0.1 * step).astype(np.float32)
            self.weights = self.weights - self.momentum
            if number == self._stop_in:
                raise KeyboardInterrupt
        return {"loss": float(np.square(step).sum())}

    def validate(self) -> Mapping[str, float]:
        if self._errors is not None:
            return {"error": self._errors[self.trained[-1]]}
        return {"error": float(np.abs(self.weights - np.array([2, -1])).max())}

    def state(self) -> State:
        return {"weights": self.weights, "momentum": self.momentum}

    def restore(self, state: State) -> None:
        self.weights, self.momentum = state["weights"], state["momentum"]


class Told:
    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []

    def __call__(self, epoch: Epoch, best: int) -> None:
        self.epochs.append((epoch.number, best))


def figures(history: History) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    return [(epoch.training, epoch.validation) for epoch in history.epochs]


@pytest.mark.parametrize("stop_in", [1, 2, 4, 6])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, stop_in: int) -> None:
    unbroken = Line()
    whole = fit(unbroken, SETTINGS, None, Told())

    with pytest.raises(KeyboardInterrupt):
        fit(Line(stop_in=stop_in), SETTINGS, tmp_path, Told())
    resumed, told = Line(), Told()
    history = fit(resumed, SETTINGS, tmp_path, told)

    assert resumed.trained == list(range(stop_in, 7))
    assert [number for number, _ in told.epochs] == [*range(1, stop_in), *range(stop_in, 7)]
    assert figures(history) == figures(whole)
    assert history.best == whole.best
    for name, values in unbroken.state().items():
        np.testing.assert_array_equal(resumed.state()[name], values)


def test_a_finished_run_trains_nothing_more(tmp_path: Path) -> None:
    first = Line()
    fit(first, SETTINGS, tmp_path, Told())
    second = Line()
    fit(second, SETTINGS, tmp_path, Told())
    assert second.trained == []
    np.testing.assert_array_equal(second.weights, first.weights)


def test_another_seed_trains_otherwise() -> None:
    first, second = Line(), Line()
    fit(first, SETTINGS, None, Told())
    fit(second, Settings(epochs=6, watch="error", better="lower", seed=4), None, Told())
    assert not np.array_equal(first.weights, second.weights)


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    errors = {1: 0.9, 2: 0.2, 3: 0.3, 4: 0.2, 5: 0.5, 6: 0.6}
    trainee, after_two = Line(errors), Line(errors)
    history = fit(trainee, SETTINGS, None, Told())
    fit(after_two, Settings(epochs=2, watch="error", better="lower", seed=3), None, Told())
    assert history.best == 2
    assert history.best_epoch.validation == {"error": 0.2}
    np.testing.assert_array_equal(trainee.weights, after_two.weights)


@pytest.mark.parametrize(("better", "best"), [("lower", 2), ("higher", 1)])
def test_better_says_which_way(better: str, best: int) -> None:
    settings = Settings(epochs=2, watch="error", better="lower" if better == "lower" else "higher")
    assert fit(Line({1: 0.9, 2: 0.2}), settings, None, Told()).best == best


def test_patience_ends_the_training(tmp_path: Path) -> None:
    settings = Settings(epochs=6, watch="error", better="lower", patience=2)
    trainee = Line({1: 0.9, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.1, 6: 0.0})
    assert fit(trainee, settings, tmp_path, Told()).best == 2
    assert trainee.trained == [1, 2, 3, 4]
    again = Line()
    fit(again, settings, tmp_path, Told())
    assert again.trained == []


def test_a_training_can_be_made_longer(tmp_path: Path) -> None:
    fit(Line(), Settings(epochs=3, watch="error", better="lower", seed=3), tmp_path, Told())
    longer, whole = Line(), Line()
    fit(longer, SETTINGS, tmp_path, Told())
    fit(whole, SETTINGS, None, Told())
    assert longer.trained == [4, 5, 6]
    np.testing.assert_array_equal(longer.weights, whole.weights)


def test_a_checkpoint_of_another_seed_is_refused_and_named(tmp_path: Path) -> None:
    fit(Line(), SETTINGS, tmp_path, Told())
    with pytest.raises(UsageError, match="run with another seed: choose another --output"):
        fit(Line(), Settings(epochs=6, watch="error", better="lower", seed=4), tmp_path, Told())


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    fit(Line(), SETTINGS, tmp_path, Told())
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ExportError, match=r"checkpoint\.npz is damaged .*: remove it to train from the start"):
        fit(Line(), SETTINGS, tmp_path, Told())


def test_a_figure_that_is_no_number_ends_the_training() -> None:
    with pytest.raises(ExportError, match="epoch 2: error is nan, so the weights are of no use"):
        fit(Line({1: 0.9, 2: float("nan")}), SETTINGS, None, Told())


def test_curves_have_a_value_an_epoch() -> None:
    history = fit(Line({1: 0.9, 2: 0.2}), Settings(epochs=2, watch="error"), None, Told())
    assert history.curves()["validation.error"] == [0.9, 0.2]
    assert len(history.curves()["training.loss"]) == 2
