"""Vector spaces, what is found in them, and how full they are."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric
from twinset_server.domain.expressions import Expression
from twinset_server.domain.facets import Facet, FacetRequest
from twinset_server.domain.values import Float32Array

VISUAL = "visual"
"""The space of look-alikes: what pictures are embedded into, and what is searched unless another is named."""

TASTE = "taste"
"""The space of taste: users and items by their factors."""

MAX_SPACE_BYTES = 64
"""What the name of a space may take as UTF-8."""

DEFAULT_TARGET_RECALL = 0.98
"""The share of the true nearest that a search is to find where its caller names none."""


@dataclass(frozen=True, slots=True)
class Space:
    """A named vector space. Vectors compare only within one space and one fingerprint.

    `model` is the name of the model that fills it, None for an external space. `generation` is the number of the
    imported factors that it holds, None where it holds none. `switched` is the change by which what it holds came to
    serve, 0 where it always did.
    """

    name: str
    dimension: int
    metric: Metric
    fingerprint: str
    model: str | None = None
    generation: int | None = None
    switched: int = 0


class Vector(NamedTuple):
    """A vector as a caller gave it: nothing is checked yet. `values` is `[D]` float32."""

    space: str
    values: Float32Array
    fingerprint: str | None = None


class Neighbour(NamedTuple):
    """A found item: its best picture (empty for a put vector) and that picture's distance, lower is better."""

    item_id: str
    picture_id: str
    distance: float


class Search(NamedTuple):
    """What to look for.

    Attributes:
        space: the name of the space searched.
        query: `[D]` float32, of unit length where the space's metric is cosine.
        k: how many items, 1 or more.
        exclude: ids never to return.
        target_recall: the share of the true nearest wanted, above 0 and at most 1, which means that all is compared.
        expression: which items may be returned; None for all.
        facets: fields to count the values of, over all items that match `expression`: without a vector in the space or
            excluded, they count too.
    """

    space: str
    query: Float32Array
    k: int
    exclude: frozenset[str] = frozenset()
    target_recall: float = DEFAULT_TARGET_RECALL
    expression: Expression | None = None
    facets: Sequence[FacetRequest] = ()


class Dtype(enum.StrEnum):
    """Of what type components are in the graphs of a space: smaller ones are searched sooner, and find less."""

    BF16 = "bf16"
    F16 = "f16"
    F32 = "f32"
    I8 = "i8"


class SearchMethod(enum.Enum):
    """How candidates are chosen: all of them, by a graph, those that match a filter, or by parts of the space."""

    SCAN = enum.auto()
    WALK = enum.auto()
    GATHER = enum.auto()
    PARTITIONS = enum.auto()


class SearchPlan(NamedTuple):
    """The way to an answer.

    Attributes:
        method: how candidates were chosen; what is newer than the index is compared in any case.
        width: rows that a walk kept in sight, or parts compared; 0 where all was compared.
        expected_recall: what searches of this width found of the true nearest when the index was calibrated; 1 where
            all was compared, None where it isn't known.
    """

    method: SearchMethod
    width: int = 0
    expected_recall: float | None = None


SCAN = SearchPlan(SearchMethod.SCAN, expected_recall=1.0)
"""The plan of a search that compares every vector."""


class SearchResult(NamedTuple):
    """Neighbours, nearest first; equal distances in the byte order of their ids.

    `exact` is True where every live vector was compared. `examined` counts the vectors compared. `sequence` is the
    last change that the search saw. `facets` are those asked for, and `matching` then counts the items that match the
    filter; None where none were.
    """

    neighbours: Sequence[Neighbour]
    exact: bool
    examined: int
    sequence: int
    plan: SearchPlan = SCAN
    facets: Sequence[Facet] = ()
    matching: int | None = None


@dataclass(frozen=True, slots=True)
class ItemRows:
    """All vectors of some items in one space; an item without any there has no row.

    Attributes:
        values: `[R, D]` float32, of unit length where the space's metric is cosine.
        owners: `[R]`, rising: the place of each row's item among those asked for.
        picture_ids: of each row; empty for a vector that the caller brought.
    """

    values: Float32Array
    owners: NDArray[np.intp]
    picture_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """How good answers were that weren't exact anyhow.

    Attributes:
        recall_at_10: the mean share of the true nearest ten that was answered, 0 to 1.
        searches: how many were searched for again exactly.
        since: when the oldest of them was made, in UTC.
    """

    recall_at_10: float
    searches: int
    since: datetime.datetime


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """A space and the state of its index. `recall` is None where no answer was checked."""

    space: Space
    vectors: int
    generation: int
    delta: int
    recall: MeasuredRecall | None = None


@dataclass(frozen=True, slots=True)
class Commits:
    """How many commits a process has made, and how long they took together, until they were durable."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """Counts over the catalogue, its spaces by name, and the sequence of the last durable change.

    `commits` are those of the process that was asked.
    """

    items: int
    pictures: int
    spaces: Sequence[SpaceStatus]
    sequence: int
    users: int = 0
    interactions: int = 0
    commits: Commits = Commits()
