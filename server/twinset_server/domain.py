"""The words of the service as values: spaces, items, pictures, vectors, neighbours.

Nothing here does input or output, and nothing here knows gRPC, Triton, SQLite or USearch.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric

__all__ = [
    "VISUAL",
    "Attribute",
    "CatalogStatus",
    "Float32Array",
    "Item",
    "ItemDraft",
    "ItemVector",
    "Metric",
    "Neighbour",
    "NewPicture",
    "Picture",
    "PictureDraft",
    "Receipt",
    "SearchResult",
    "Space",
    "SpaceStatus",
    "StoredPicture",
    "UInt8Array",
    "Vector",
    "WritableItem",
]

Float32Array = NDArray[np.float32]
UInt8Array = NDArray[np.uint8]

Attribute = str | int | float | bool | tuple[str, ...] | datetime.datetime
"""A typed attribute: text, whole number, number, truth, several texts, or a time in UTC."""


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
class PictureDraft:
    """A picture as a caller gave it."""

    id: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """An item as a caller gave it."""

    id: str
    title: str = ""
    uri: str = ""
    category: str = ""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    pictures: Sequence[PictureDraft] = ()
    vectors: Sequence[Vector] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of an item's picture. `sha256` is the hexadecimal digest of its `size_bytes` bytes as put."""

    id: str
    media_type: str
    width: int
    height: int
    sha256: str
    size_bytes: int
    stored: bool = False


@dataclass(frozen=True, slots=True)
class NewPicture:
    """A checked picture on its way into the catalogue."""

    picture: Picture
    content: bytes


@dataclass(frozen=True, slots=True)
class ItemVector:
    """A vector of an item, ready to store: `[D]` float32, of unit length where the space's metric is cosine.

    `picture_id` names the picture that it was made from; it is empty for a vector that the caller brought.
    """

    space: str
    picture_id: str
    values: Float32Array


@dataclass(frozen=True, slots=True)
class WritableItem:
    """A checked item with all its vectors, ready to commit."""

    id: str
    title: str
    uri: str
    category: str
    attributes: Mapping[str, Attribute]
    pictures: Sequence[NewPicture]
    vectors: Sequence[ItemVector]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a durable write."""

    etag: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item. `vectors` is None where the reader didn't ask for them."""

    id: str
    title: str
    uri: str
    category: str
    attributes: Mapping[str, Attribute]
    pictures: Sequence[Picture]
    vectors: Sequence[ItemVector] | None
    etag: str
    sequence: int
    created: datetime.datetime
    updated: datetime.datetime


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture together with its content as it was put."""

    picture: Picture
    content: bytes


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
