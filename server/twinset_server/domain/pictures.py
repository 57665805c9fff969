"""Pictures, and what is made from them: vectors and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinset_server.domain.values import Float32Array


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class, and the probability, 0 to 1, that a model gives it."""

    class_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class PictureDraft:
    """A picture as a caller gave it."""

    id: str
    content: bytes


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
    `fingerprint` is of what made it, so that no other may fill its space by the time of its commit; empty where that
    isn't asked.
    """

    space: str
    picture_id: str
    values: Float32Array
    fingerprint: str = ""


PictureVectors = Mapping[str, Mapping[str, Float32Array]]
"""Vectors made from pictures, each `[D]` float32: by the SHA-256 of the picture as put, then by space."""


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Vectors that were made from an item's pictures, while `category` was the one that its caller gave it, if any.

    `fingerprints` are those of the spaces that they are of, by name.
    """

    category: str
    pictures: PictureVectors
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture together with what is kept of its content, which may be a smaller copy.

    All of `picture` but its `sha256`, which is that of the content as it was put, describes the content at hand.
    """

    picture: Picture
    content: bytes
