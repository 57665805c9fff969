"""Small items to put into a catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from twinset_server.domain import (
    Attribute,
    Float32Array,
    ItemDeletion,
    ItemVector,
    NewPicture,
    Picture,
    Receipt,
    WritableItem,
)
from twinset_server.errors import TwinsetError
from twinset_server.ports import Catalog


def unit(*components: float) -> Float32Array:
    """Return the vector of unit length that points along `components`."""
    vector = np.array(components, np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def new_picture(picture_id: str, content: bytes) -> NewPicture:
    """Return a picture of these bytes."""
    sha256 = hashlib.sha256(content).hexdigest()
    return NewPicture(Picture(picture_id, "image/png", 4, 3, sha256, len(content)), content)


async def put(catalog: Catalog, items: Sequence[WritableItem]) -> Sequence[Receipt | TwinsetError]:
    """Put items, and return what became of each."""
    return (await catalog.write(items)).outcomes


async def delete(catalog: Catalog, item_id: str) -> int:
    """Delete an item, and return the change's sequence."""
    [outcome] = (await catalog.write([ItemDeletion(item_id)])).outcomes
    if isinstance(outcome, TwinsetError):
        raise outcome
    return outcome.sequence


def writable(
    item_id: str,
    vectors: Sequence[ItemVector] = (),
    pictures: Sequence[NewPicture] = (),
    *,
    title: str = "",
    attributes: Mapping[str, Attribute] | None = None,
    etag: str = "",
    digest: bytes = b"",
    category: str = "",
    category_probability: float | None = None,
) -> WritableItem:
    """Return an item ready to commit."""
    return WritableItem(
        item_id,
        title,
        "",
        category,
        attributes or {},
        tuple(pictures),
        tuple(vectors),
        etag=etag,
        digest=digest,
        category_probability=category_probability,
    )


def vectored(item_id: str, values: Float32Array, *, space: str = "visual", picture_id: str = "") -> WritableItem:
    """Return an item with one vector."""
    return writable(item_id, [ItemVector(space, picture_id, values)])
