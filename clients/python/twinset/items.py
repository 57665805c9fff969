"""What the client takes and returns: items, pictures, vectors, users and the catalogue."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset.errors import TwinsetError
from twinset.pair_contract import PairContract

Attribute = str | int | float | bool | tuple[str, ...] | datetime.datetime
"""A typed attribute: text, whole number, number, truth, several texts, or a time (without a zone it is UTC)."""

View = Literal["id", "basic", "full"]
"""How much of an item comes along: its id; all but vectors; all."""


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """A vector and where it belongs.

    Attributes:
        values: `[D]` float32.
        space: the space's name; empty for an output that fills none.
        fingerprint: of the model that made it, 64 hexadecimal digits; empty for a vector of an external space.
    """

    values: NDArray[np.float32]
    space: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of an item. To put one, give `content`, and an `id` where its place in the item isn't enough.

    The rest comes from the server: `width` and `height` in pixels with orientation applied, `sha256` of the content
    as it was put, and whether the server keeps that content.
    """

    content: bytes = field(default=b"", repr=False)
    id: str = ""
    media_type: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    size_bytes: int = 0
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """Something to recommend. `pictures` are up to 16, the first is the main one.

    `sequence`, `created` and `updated` come from the server, and so does `etag`. A put with an etag is made only if the
    stored item still has that one, so that an item that was read, changed and put can't undo the work of others.

    `category_probability` is set where the server predicted the category. Put as it was read, the item's category stays
    a guess; give it another category and it is a fact, which no prediction replaces.
    """

    id: str
    pictures: Sequence[Picture] = ()
    title: str = ""
    uri: str = ""
    category: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    vectors: Sequence[Vector] = ()
    etag: str = ""
    sequence: int = 0
    created: datetime.datetime | None = None
    updated: datetime.datetime | None = None
    category_probability: float | None = None

    @property
    def own_category(self) -> str:
        """The category that the item's caller gave it; empty where there is none, or a predicted one."""
        return self.category if self.category_probability is None else ""


@dataclass(frozen=True, slots=True)
class ItemUpdate:
    """A change of some fields of a stored item; a field that is None stays as it is.

    Attributes:
        id: the item.
        title: anew, as are `uri` and `category`; empty takes it away.
        attributes: single ones by name; None takes one away, and those not named stay.
        all_attributes: all of them anew; goes not with `attributes`.
        pictures: all of them anew; empty takes them away.
        vectors: anew for the spaces that they name; those of other spaces stay.
        etag: where it isn't empty, the stored item must have it.
    """

    id: str
    title: str | None = None
    uri: str | None = None
    category: str | None = None
    attributes: Mapping[str, Attribute | None] = field(default_factory=dict)
    all_attributes: Mapping[str, Attribute] | None = None
    pictures: Sequence[Picture] | None = None
    vectors: Sequence[Vector] | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom items are recommended to. A put with an etag is made only if the stored one still is that."""

    id: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    vectors: Sequence[Vector] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One user's act on one item. Neither needs to be stored.

    Attributes:
        user_id: who.
        item_id: on what.
        kind: such as "like", "buy", "view" or "dislike".
        weight: how much it counts.
        time: when; None means when the server gets it, and a time without a zone is UTC.
        sequence: the change sequence that it got, where it comes from the server.
        recommendation_id: that of the answer which the user acted upon; empty where there is none.
    """

    user_id: str
    item_id: str
    kind: str
    weight: float = 1.0
    time: datetime.datetime | None = None
    sequence: int = 0
    recommendation_id: str = ""


@dataclass(frozen=True, slots=True)
class UserData:
    """What is stored of a user.

    Attributes:
        user: as they were put; where they never were, the id alone.
        interactions: how many of their acts are stored.
        has_factors: whether the factors in use hold some of theirs.
    """

    user: User
    interactions: int
    has_factors: bool


@dataclass(frozen=True, slots=True)
class PutResult:
    """What became of one change: made durably, unless `error` says why not.

    Attributes:
        id: of what was to change; empty for an interaction.
        etag: the new one; empty where nothing is left to have one.
        sequence: the change sequence that it got.
        error: why nothing was changed.
        slowed_s: for how long the server held back the answer to the message, because vectors come faster than they
            are indexed: more streams would only wait longer.
        category_unknown: the model takes categories, and the item's is none that it knows: its vectors are those of an
            unknown one.
    """

    id: str
    etag: str = ""
    sequence: int = 0
    error: TwinsetError | None = None
    slowed_s: float = 0.0
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class FeedResult:
    """What became of one item of a feed: it counts at the commit, unless `error` says why not.

    `unchanged`: the stored item was made from just this, so that nothing was embedded. `category_unknown` is as in
    `PutResult`.
    """

    id: str
    unchanged: bool = False
    error: TwinsetError | None = None
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class FeedSummary:
    """What a committed feed did, in items. `failed` ids keep what was stored under them, and count as unchanged too."""

    created: int
    replaced: int
    unchanged: int
    deleted: int
    failed: int
    sequence: int


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """How good the last answers to callers were, by a sample that the server searched for again exactly.

    Attributes:
        recall_at_10: the mean share of the true nearest ten that was answered, 0 to 1.
        search_count: how many searches it is from: of the one process that told it.
        since: when the oldest of them was made, in UTC.
    """

    recall_at_10: float
    search_count: int
    since: datetime.datetime


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space. `model` is empty for an external one.

    `delta_count` vectors are newer than the index of `index_generation`, and are searched exactly. `measured_recall` is
    None until the server has checked an answer.
    """

    name: str
    dimension: int
    metric: Metric
    fingerprint: str
    model: str
    vector_count: int
    index_generation: int
    delta_count: int
    measured_recall: MeasuredRecall | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The model that turns pictures into vectors.

    Attributes:
        name: in the model repository.
        fingerprint: 64 hexadecimal digits.
        classes: the classes that it predicts, by output.
        categories: those that it knows as a second input; empty where it takes none.
        category_spaces: the spaces whose vectors depend on an item's category.
        pair: how it gives the probability of a pair; None where it doesn't.
    """

    name: str
    fingerprint: str
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    category_spaces: tuple[str, ...] = ()
    pair: PairContract | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The state of the catalogue.

    `sequence` is that of the last durable change. `model` is None while no model is known to the server.
    """

    item_count: int
    picture_count: int
    spaces: tuple[Space, ...]
    sequence: int
    server_version: str
    user_count: int = 0
    interaction_count: int = 0
    model: Model | None = None
