"""Trains epoch by epoch, keeps the best, and goes on after a stop as if there had been none."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.held_folder import writing

CHECKPOINT = "checkpoint.npz"

_ABOUT = "about"
_LAST, _BEST = "last/", "best/"

State = Mapping[str, NDArray[Any]]


class Trainee(Protocol):
    """What is trained, in whatever framework."""

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train one epoch, the first being 1, and return its figures; all chance comes from `rng`."""

    def validate(self) -> Mapping[str, float]:
        """Return figures on validation data; nothing changes."""

    def state(self) -> State:
        """Return everything that the next epoch depends on: weights, and those of the optimizer."""

    def restore(self, state: State) -> None:
        """Take the place of the trainee that `state` is of."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to train, and what counts as better.

    Attributes:
        epochs: at most.
        watch: the validation figure that decides which epoch is the best; None keeps the last.
        better: which way it is better.
        patience: epochs without a better one after which training stops early; None never to.
        seed: of all chance; epoch `e` draws from `(seed, e)`.
    """

    epochs: int
    watch: str | None
    better: Literal["higher", "lower"] = "higher"
    patience: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch's figures, of its training and of the validation after it, and how long both took."""

    number: int
    training: Mapping[str, float]
    validation: Mapping[str, float]
    seconds: float


@dataclass(slots=True)
class History:
    """The epochs so far, and the number of the best, 0 while there is none."""

    epochs: list[Epoch] = field(default_factory=list)
    best: int = 0

    @property
    def best_epoch(self) -> Epoch:
        """The epoch whose weights are kept."""
        return self.epochs[self.best - 1]

    @property
    def seconds(self) -> float:
        """How long all epochs took, those before a stop included."""
        return sum(epoch.seconds for epoch in self.epochs)

    def curves(self) -> dict[str, list[float]]:
        """Return each figure by epoch, called `training.NAME` or `validation.NAME`."""
        return {
            f"{part}.{name}": [getattr(epoch, part)[name] for epoch in self.epochs]
            for part in ("training", "validation")
            for name in (getattr(self.epochs[0], part) if self.epochs else ())
        }


Progress = Callable[[Epoch, int], None]
"""Told of each epoch that is done, with the number of the best so far."""


def fit(trainee: Trainee, settings: Settings, folder: Path | None, progress: Progress) -> History:
    """Train until the last epoch, or until patience ends; the trainee ends with the weights of the best epoch.

    After every epoch a checkpoint takes the place of the one before, whole or not at all. Where `folder` holds one, its
    epochs are told to `progress` and not trained again, and the end is that of a run which was never stopped.

    Args:
        trainee: what is trained.
        settings: how long.
        folder: where the checkpoint lies; None to keep none.
        progress: told of each epoch.

    Raises:
        UsageError: the checkpoint belongs to a run with other settings.
        ExportError: the checkpoint is damaged, or the figure watched isn't a finite number.
        KeyboardInterrupt: Ctrl-C; run it again to go on.
    """
    history, best = History(), dict(trainee.state())
    path = None if folder is None else folder / CHECKPOINT
    if path is not None and path.exists():
        history, last, best = _read(path, settings)
        trainee.restore(last)
        for epoch in history.epochs:
            progress(epoch, history.best)
    while len(history.epochs) < settings.epochs and not _patience_ended(history, settings):
        number, started = len(history.epochs) + 1, time.perf_counter()
        training = trainee.epoch(number, np.random.default_rng((settings.seed, number)))
        validation = trainee.validate()
        epoch = Epoch(number, _floats(training), _floats(validation), time.perf_counter() - started)
        history.epochs.append(epoch)
        if _is_best(history, settings):
            history.best, best = number, _copy(trainee.state())
        if path is not None:
            _write(path, settings, history, trainee.state(), best)
        progress(epoch, history.best)
    trainee.restore(best)
    return history


def _patience_ended(history: History, settings: Settings) -> bool:
    return settings.patience is not None and len(history.epochs) - history.best >= settings.patience


def _is_best(history: History, settings: Settings) -> bool:
    """Return whether the last epoch is better than all before; of equal ones the first stays."""
    if settings.watch is None:
        return True
    values = []
    for epoch in history.epochs:
        if settings.watch not in epoch.validation:
            raise ExportError(f"validation gives no {settings.watch!r}: it gives {', '.join(epoch.validation)}")
        values.append(epoch.validation[settings.watch])
    if not np.isfinite(values[-1]):
        raise ExportError(
            f"epoch {len(values)}: {settings.watch} is {values[-1]}, so the weights are of no use: choose a lower "
            "learning rate"
        )
    if not history.best:
        return True
    before = values[history.best - 1]
    return values[-1] > before if settings.better == "higher" else values[-1] < before


def _floats(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items()}


def _copy(state: State) -> dict[str, NDArray[Any]]:
    return {name: np.array(values) for name, values in state.items()}


def _write(path: Path, settings: Settings, history: History, last: State, best: State) -> None:
    about = json.dumps(
        {
            "settings": _identity(settings),
            "best": history.best,
            "epochs": [asdict(epoch) for epoch in history.epochs],
        }
    )
    arrays = {_ABOUT: np.frombuffer(about.encode(), np.uint8)}
    arrays |= {f"{_LAST}{name}": values for name, values in last.items()}
    arrays |= {f"{_BEST}{name}": values for name, values in best.items()}
    with writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read(path: Path, settings: Settings) -> tuple[History, State, dict[str, NDArray[Any]]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays[_ABOUT].tobytes())
            last = {name.removeprefix(_LAST): arrays[name] for name in arrays if name.startswith(_LAST)}
            best = {name.removeprefix(_BEST): arrays[name] for name in arrays if name.startswith(_BEST)}
            history = History([Epoch(**epoch) for epoch in about["epochs"]], about["best"])
            before = about["settings"]
    except Exception as error:  # a damaged archive raises whatever its reader stumbles over
        raise ExportError(f"{path} is damaged ({error}): remove it to train from the start") from error
    differing = [name for name, value in _identity(settings).items() if before.get(name) != value]
    if differing:
        raise UsageError(
            f"{path} is of a run with another {' and '.join(differing)}: choose another --output, or repeat the "
            "command of that run"
        )
    return history, last, best


def _identity(settings: Settings) -> dict[str, Any]:
    """Return the settings that the epochs so far depend on: training may be made longer, or more patient."""
    return {name: value for name, value in asdict(settings).items() if name not in ("epochs", "patience")}
