"""Vector spaces, what is found in them, and how full they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinset.contract import Metric
from twinset_server.domain.values import Float32Array

VISUAL = "visual"
"""The space of look-alikes: what pictures are embedded into, and what is searched unless another is named."""


@dataclass(frozen=True, slots=True)
class Space:
    """A named vector space. Vectors compare only within one space and one fingerprint.

    `model` is the name of the model that fills it, None for an external space.
    """

    name: str
    dimension: int
    metric: Metric
    fingerprint: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector as a caller gave it: nothing is checked yet. `values` is `[D]` float32."""

    space: str
    values: Float32Array
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A found item: its best picture (empty for a put vector) and that picture's distance, lower is better."""

    item_id: str
    picture_id: str
    distance: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Neighbours, nearest first; equal distances in the byte order of their ids.

    `exact` is True where every live vector was compared. `examined` counts the vectors compared. `sequence` is the
    last change that the search saw.
    """

    neighbours: Sequence[Neighbour]
    exact: bool
    examined: int
    sequence: int


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """A space and the state of its index."""

    space: Space
    vectors: int
    generation: int
    delta: int


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """Counts over the catalogue, its spaces by name, and the sequence of the last durable change."""

    items: int
    pictures: int
    spaces: Sequence[SpaceStatus]
    sequence: int
    users: int = 0
    interactions: int = 0
