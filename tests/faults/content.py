"""What the load writes: all that an item holds follows from its id and version, so that any reader can tell."""

from __future__ import annotations

import functools
import hashlib
import io

import numpy as np
from PIL import Image

from twinset_server.config import ExternalSpace
from twinset_server.domain import Float32Array

SPACE = "own"
DIMENSION = 16
EXTERNAL = {SPACE: ExternalSpace(dimension=DIMENSION)}


def has_picture(version: int) -> bool:
    """Return whether that version of an item has a picture besides its vector."""
    return version % 3 == 0


@functools.lru_cache(4096)
def picture(item_id: str, version: int) -> bytes:
    """Return a small PNG that no other version of any item has."""
    rng = np.random.default_rng(_seed("picture", item_id, version))
    content = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8), "RGB").save(content, "PNG")
    return content.getvalue()


@functools.lru_cache(65536)
def vector(item_id: str, version: int) -> Float32Array:
    """Return a unit vector, `[DIMENSION]` float32, that no other version of any item has."""
    values = np.random.default_rng(_seed("vector", item_id, version)).standard_normal(DIMENSION).astype(np.float32)
    return values / np.float32(np.linalg.norm(values))


def title(item_id: str, version: int) -> str:
    return f"{item_id} at version {version}"


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])
