"""Values of calls about pairs and sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset.errors import TwinsetError
from twinset.items import Item, Vector
from twinset.pair_contract import PairContract
from twinset.v1 import filter_pb2


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair: exactly one of `item`, `picture` and `vector`.

    Attributes:
        item: a stored item's id.
        picture: an encoded picture.
        vector: of `pair_source` for a left side, of `pair_target` for a right one.
        category: of what the picture shows, or that the vector was made with; empty where that isn't known.
    """

    item: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    vector: Vector | None = None
    category: str = ""


@dataclass(frozen=True, slots=True)
class PairScoring:
    """What made probabilities.

    Attributes:
        model: the model's name.
        metric: how the spaces of both sides compare vectors.
        pair: how a distance becomes a probability.
        source_fingerprint: of the space `pair_source`.
        target_fingerprint: of the space `pair_target`.
        prior: the share of true pairs that the probabilities hold for.
    """

    model: str
    metric: Metric
    pair: PairContract
    source_fingerprint: str
    target_fingerprint: str
    prior: float


@dataclass(frozen=True, slots=True)
class PairScore:
    """How well a left side goes with a right one.

    Attributes:
        probability: 0 to 1, calibrated.
        distance: lower is better.
        left_picture_id: the picture of an item that fits best; empty for what isn't one.
        right_picture_id: the same of the right side.
    """

    probability: float
    distance: float
    left_picture_id: str = ""
    right_picture_id: str = ""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """How well two sides go together.

    Attributes:
        score: from left to right.
        reverse: from right to left; None where it wasn't asked for.
        scoring: what made them.
        left_category_unknown: whether the left side is a picture or vector whose category the model doesn't know.
        right_category_unknown: the same of the right side.
        sequence: every change up to it counts.
        recommendation_id: names this answer; an interaction that it led to may name it.
    """

    score: PairScore
    reverse: PairScore | None
    scoring: PairScoring
    left_category_unknown: bool
    right_category_unknown: bool
    sequence: int
    recommendation_id: str


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPairs:
    """How well many pairs go together, in the order asked for.

    Attributes:
        probabilities: `[P]` from left to right; NaN where a side failed.
        distances: `[P]` float32; NaN where a side failed.
        reverse_probabilities: from right to left; None where that wasn't asked for.
        reverse_distances: the same.
        failed: what befell items that have no vector, by id.
        scoring: what made them; None where no pair was asked for.
        recommendation_ids: of the answers, one for every 16,384 pairs, in their order.
    """

    probabilities: NDArray[np.float64]
    distances: NDArray[np.float32]
    reverse_probabilities: NDArray[np.float64] | None
    reverse_distances: NDArray[np.float32] | None
    failed: Mapping[str, TwinsetError]
    scoring: PairScoring | None
    recommendation_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a set to fill with one item.

    Attributes:
        category: what may fill it; empty for any.
        filter: which of these, such as `attributes.price < 50`; or the same as a message.
        candidates: where it isn't empty, these items alone.
        exclude: items that must not.
    """

    category: str = ""
    filter: str | filter_pb2.Filter = ""
    candidates: Sequence[str] = ()
    exclude: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SlotItem:
    """An item in a slot: the sum of log P of the set with it, and the part of it that is of pairs with this item."""

    item: Item
    set_score: float
    item_score: float


@dataclass(frozen=True, slots=True)
class FilledSlot:
    """What fills a slot, None where nothing may; what else could, best first; among how many it was chosen."""

    chosen: SlotItem | None
    alternatives: tuple[SlotItem, ...]
    candidates_examined: int


@dataclass(frozen=True, slots=True)
class CompletedSet:
    """A set that was completed.

    Attributes:
        slots: in the order asked for.
        score: the sum of log P over all pairs of given and chosen, and of two chosen; higher is better, 0 the most.
        pair_count: how many pairs that is.
        exact: whether no set can be better.
        scoring: what made the probabilities.
        category_unknown_given: places of given pictures and vectors whose category the model doesn't know.
        sequence: every change up to it counts.
        recommendation_id: names this answer; an interaction that it led to may name it.
    """

    slots: tuple[FilledSlot, ...]
    score: float
    pair_count: int
    exact: bool
    scoring: PairScoring
    category_unknown_given: tuple[int, ...]
    sequence: int
    recommendation_id: str
