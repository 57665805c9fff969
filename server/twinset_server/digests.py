"""What an item was made from, as one number: equal digests mean that nothing has to be made again."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from twinset_server.domain import ItemDraft, ItemVector, NewPicture

_VERSION = "twinset item 1"


def _plain(value: object) -> object:
    # No attribute is an object, so that this can't be taken for another value.
    if isinstance(value, datetime.datetime):
        return {"time": value.isoformat()}
    raise TypeError(f"an item holds a {type(value).__name__}, of which there is no canonical form")


_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain).encode


def item_digest(
    draft: ItemDraft,
    pictures: Sequence[NewPicture],
    own: Sequence[ItemVector],
    models: Mapping[str, str],
    classifier: str = "",
) -> bytes:
    """Return the SHA-256 of an item's canonical content, 32 bytes; its id and etag are no part of it.

    Args:
        draft: the fields.
        pictures: its pictures, of which ids and SHA-256 count.
        own: the vectors that the caller brought, by space and bytes.
        models: fingerprint of the model by each space that the pictures fill; another model makes another item.
        classifier: fingerprint of what predicts the item's category; empty where nothing does. A guess that came with
            the item counts where nothing is to replace it.
    """
    head = (
        _VERSION,
        draft.title,
        draft.uri,
        draft.category,
        draft.attributes,
        [(new.picture.id, new.picture.sha256) for new in pictures],
        [(vector.space, vector.values.size) for vector in own],
        models,
        *([classifier] if classifier else [asdict(draft.guess)] if draft.guess else []),
    )
    # The head tells how long each vector is, so that no two items run into the same bytes.
    digest = hashlib.sha256(_encode(head).encode())
    for vector in own:
        digest.update(vector.values.data)
    return digest.digest()
