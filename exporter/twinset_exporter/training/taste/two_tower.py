"""The default taste model: two towers under a softmax over all items.

The user tower reads what the user did and nothing else, so that a new user gets a vector as any other does:

    z = start + (sum of liked[i] over likes + sum of known[i] over other acts) / sqrt(1 + number of acts)
    score of item j = <z / |z|, item[j] / |item[j]|> / temperature + bias[j]

Each step hides a part of every user's acts, and the rest has to foretell it: the loss is the cross entropy of a softmax
over the items that the rest doesn't hold as likes, in which a hidden act that is no like counts for less. The towers
follow the two-tower models of Covington et al. 2016 and Yi et al. 2019, hiding parts of the input those of Liang et al.
2018 (Mult-DAE).

Where items have pictures, each of `liked`, `known` and `item` is a linear map of the picture's features, plus a vector
of the item's own. In every step half of the items, drawn anew, do without theirs; so the map alone places an item that
nobody has acted on yet. Such items are left out of the softmax: that nobody was shown them is no judgement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.factors import FoldIn
from twinset_exporter.training.adam import Adam
from twinset_exporter.training.taste.feedback import Feedback

_IMPOSSIBLE = -1e4
"""A logit that leaves a softmax."""

_BLOCK = 1024

_SIDES = ("liked", "known", "items")
"""The weights with a row for each item."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training depends on besides the data.

    Attributes:
        dimension: D of the factors that are exported; one component is the items' bias.
        temperature: that cosines are divided by.
        known_weight: of an act that is no like, as a target, a like being 1.
        hidden: the share of a user's acts that is hidden in a step is drawn between these two.
        popularity_prior: the share of the mean item's likes that is added to each item's; the logarithm of the sum is
            where the item's bias starts.
        learning_rate: of Adam, falling in a line to a twentieth over the second half of the epochs.
        epochs: passes over all users.
        batch_users: users in a step.
        full_softmax: with more items than this, a step takes those of its users and so many others, drawn anew, which
            stand for all others.
        own_vectors: the share of items that keep the vectors of their own in a step, where there are pictures.
        seed: of all chance.
    """

    dimension: int = 64
    temperature: float = 0.25
    known_weight: float = 0.3
    hidden: tuple[float, float] = (0.3, 0.8)
    popularity_prior: float = 1.0
    learning_rate: float = 0.03
    epochs: int = 60
    batch_users: int = 1024
    full_softmax: int = 20_000
    own_vectors: float = 0.5
    seed: int = 0


DEFAULT = Settings()


@dataclass(frozen=True, slots=True, eq=False)
class Towers:
    """What is learned, all float32.

    Attributes:
        liked: `[I, D - 1]`, what a like adds to its user.
        known: `[I, D - 1]`, what another act adds.
        start: `[D - 1]`, a user who did nothing.
        items: `[I, D - 1]`, of any length.
        bias: `[I]`.
        item_map: `[K, D - 1]` from prepared features to `items`, None where there were no pictures.
    """

    liked: NDArray[np.float32]
    known: NDArray[np.float32]
    start: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32]
    item_map: NDArray[np.float32] | None = None


class TwoTower:
    """A model in training; `loop.Trainee` but for `validate`."""

    def __init__(
        self, feedback: Feedback, settings: Settings = DEFAULT, pictures: NDArray[np.float32] | None = None
    ) -> None:
        """Begin.

        Args:
            feedback: to train on.
            settings: how.
            pictures: `[I, K]`, prepared features of all items (`picture_features`), None to do without.
        """
        self.settings = settings
        self._feedback, self._pictures = feedback, pictures
        rng = np.random.default_rng(settings.seed)
        latent, count = settings.dimension - 1, feedback.item_count
        weight = np.where(feedback.liked, 1.0, settings.known_weight)
        likes = np.bincount(feedback.items, weight, minlength=count)
        share = likes + settings.popularity_prior * max(likes.mean(), 1 / count)
        self._weights = {
            "start": np.zeros(latent, np.float32),
            "bias": np.log(share / share.sum()).astype(np.float32),
        }
        if pictures is None:
            # Unit length in the mean, so that one learning rate suits any dimension.
            liked, items = (rng.normal(0, latent**-0.5, (count, latent)).astype(np.float32) for _ in range(2))
            self._weights |= {"liked": liked, "known": liked / 2, "items": items}
        else:
            self._unseen = np.bincount(feedback.items, minlength=count) == 0
            # One map for both towers: training starts from looks, where alike is what goes together.
            side = max(pictures.shape[1], latent)
            looks = np.linalg.qr(rng.normal(size=(side, side)))[0][: pictures.shape[1], :latent].astype(np.float32)
            self._weights |= {name: np.zeros((count, latent), np.float32) for name in _SIDES}
            self._weights |= {"liked_map": looks, "known_map": looks / 2, "items_map": looks.copy()}
        self._adam = Adam(self._weights)

    def towers(self) -> Towers:
        """Return what is learned so far."""
        weights = self._weights
        if self._pictures is None:
            return Towers(**weights)
        liked, known, items = (weights[name] + self._pictures @ weights[f"{name}_map"] for name in _SIDES)
        # Nobody acted on them, so that they never took part: they stand as new items do.
        bias = np.where(self._unseen, np.median(weights["bias"][~self._unseen]), weights["bias"]).astype(np.float32)
        return Towers(liked, known, weights["start"], items, bias, weights["items_map"])

    def epoch(self, number: int, rng: np.random.Generator) -> Mapping[str, float]:
        """Train one pass over all users in a new order; return the mean loss of a hidden like, in nats."""
        settings = self.settings
        rate = settings.learning_rate * min(1.0, 2 * (1 - number / settings.epochs) + 0.05)
        loss = weight = 0.0
        for users in _batches(rng.permutation(self._feedback.user_count), settings.batch_users):
            step = _Step.drawn(self._feedback, users, settings, rng)
            if not step.target.any():
                continue
            loss += self._train(step, rate, rng)
            weight += float(step.target.sum())
        return {"loss": loss / weight if weight else 0.0}

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the weights and Adam's memory."""
        return self._adam.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take weights and memory from `state`."""
        self._adam.restore(state)

    def _train(self, step: _Step, rate: float, rng: np.random.Generator) -> float:
        """Take one step, and return the sum of its loss."""
        weights, rows, temperature = self._weights, step.items, self.settings.temperature
        liked, known, items = (weights[name][rows] for name in _SIDES)
        if self._pictures is not None:
            pictures = self._pictures[rows]
            own = (rng.random((len(pictures), 1)) < self.settings.own_vectors).astype(np.float32)
            liked, known, items = (
                side * own + pictures @ weights[f"{name}_map"]
                for name, side in zip(_SIDES, (liked, known, items), strict=True)
            )
        users, lengths = _unit(weights["start"] + step.likes @ liked + step.others @ known)
        targets, item_lengths = _unit(items)
        logits = users @ targets.T / temperature + weights["bias"][rows] + step.correction
        logits[step.impossible] = _IMPOSSIBLE
        if self._pictures is not None:
            logits[:, self._unseen[rows]] = _IMPOSSIBLE
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        sums = chances.sum(axis=1, keepdims=True)
        loss = float((step.target * (np.log(sums) - logits)).sum())
        wanted = step.target.sum(axis=1, keepdims=True)
        # The derivative of the loss by the logits; the whole is divided by the mean weight of a user.
        slope = (chances * (wanted / sums) - step.target) / np.float32(wanted.sum() / len(wanted))
        of_users = _through_unit(slope @ targets / temperature, users, lengths)
        gradients = {
            "liked": step.likes.T @ of_users,
            "known": step.others.T @ of_users,
            "items": _through_unit(slope.T @ users / temperature, targets, item_lengths),
        }
        if self._pictures is not None:
            gradients |= {f"{name}_map": pictures.T @ gradients[name] for name in _SIDES}
            gradients |= {name: gradients[name] * own for name in _SIDES}
        gradients |= {"start": of_users.sum(axis=0), "bias": slope.sum(axis=0)}
        self._adam.step(gradients, rate, rows=dict.fromkeys((*_SIDES, "bias"), rows))
        return loss


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """A batch of B users over C items.

    Attributes:
        items: `[C]` numbers of the items, or a slice that is all of them.
        likes, others: `[B, C]` float32, the acts that are shown, divided by sqrt(1 + their number).
        target: `[B, C]` float32, the weight of each hidden act.
        impossible: `[B, C]` bool, likes that are shown, which can't be what is hidden.
        correction: `[C]` float32, added to the logits: the logarithm of how many items each one stands for.
    """

    items: NDArray[np.int64] | slice
    likes: NDArray[np.float32]
    others: NDArray[np.float32]
    target: NDArray[np.float32]
    impossible: NDArray[np.bool_]
    correction: NDArray[np.float32] | float

    @classmethod
    def drawn(cls, feedback: Feedback, users: NDArray[np.int64], settings: Settings, rng: np.random.Generator) -> _Step:
        place, rows = feedback.rows_of(users)
        items, liked = feedback.items[rows], feedback.liked[rows]
        shown = rng.random(len(rows)) > rng.uniform(*settings.hidden, len(users))[place]
        chosen, columns, correction = _items(feedback.item_count, items, settings.full_softmax, rng)
        shape = len(users), feedback.item_count if isinstance(chosen, slice) else len(chosen)
        likes, others = _dense(shape, place, columns, shown & liked), _dense(shape, place, columns, shown & ~liked)
        target = _dense(shape, place, columns, ~shown, np.where(liked, 1.0, settings.known_weight))
        impossible = likes > 0
        scale = _scale(np.bincount(place, shown, minlength=len(users)))
        return cls(chosen, likes * scale, others * scale, target, impossible, correction)


def fold_in(towers: Towers, settings: Settings) -> FoldIn:
    """Return how users get their factors from what they did."""
    return FoldIn(towers.liked, towers.known, towers.start, settings.temperature)


def factors_of_users(fold: FoldIn, feedback: Feedback) -> Iterator[NDArray[np.float32]]:
    """Yield the factors of all users of `feedback`, a few rows `[n, D]` float32 at a time."""
    for users in _batches(np.arange(feedback.user_count), _BLOCK):
        place, rows = feedback.rows_of(users)
        yield fold.of_users(place, feedback.items[rows], feedback.liked[rows], len(users))


def factors_of_items(towers: Towers) -> NDArray[np.float32]:
    """Return the factors of all items, `[I, D]` float32; the last component is the bias."""
    return np.concatenate([_unit(towers.items)[0], towers.bias[:, np.newaxis]], axis=1)


def train(feedback: Feedback, settings: Settings = DEFAULT, pictures: NDArray[np.float32] | None = None) -> Towers:
    """Return towers trained on `feedback`, without validation, checkpoint or bar; see `TwoTower`."""
    model = TwoTower(feedback, settings, pictures)
    for number in range(1, settings.epochs + 1):
        model.epoch(number, np.random.default_rng((settings.seed, number)))
    return model.towers()


def _items(
    count: int, used: NDArray[np.int32], full: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64] | slice, NDArray[Any], NDArray[np.float32] | float]:
    """Return the items of a step, the column of each of the `used` among them, and the correction."""
    if count <= full:
        return slice(None), used, 0.0
    own, columns = np.unique(used, return_inverse=True)
    others = np.setdiff1d(rng.integers(0, count, full), own)
    correction = np.zeros(len(own) + len(others), np.float32)
    correction[len(own) :] = np.log((count - len(own)) / max(1, len(others)))
    return np.concatenate([own, others]).astype(np.int64), columns, correction


def _dense(
    shape: tuple[int, int],
    place: NDArray[np.int64],
    columns: NDArray[Any],
    chosen: NDArray[np.bool_],
    values: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    matrix = np.zeros(shape, np.float32)
    matrix[place[chosen], columns[chosen]] = 1 if values is None else values[chosen]
    return matrix


def _scale(acts: NDArray[Any]) -> NDArray[np.float32]:
    scale: NDArray[np.float32] = (1 / np.sqrt(1 + acts)).astype(np.float32)[:, np.newaxis]
    return scale


def _unit(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True)) + np.float32(1e-8)
    units: NDArray[np.float32] = rows / lengths
    return units, lengths


def _through_unit(
    slope: NDArray[np.float32], units: NDArray[np.float32], lengths: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the derivative by rows, given that by the rows at unit length."""
    slopes: NDArray[np.float32] = (slope - units * (slope * units).sum(axis=1, keepdims=True)) / lengths
    return slopes


def _batches(users: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    yield from (users[start : start + size] for start in range(0, len(users), size))
