"""Thumbnails of items: JPEG, small enough that a page can hold thousands."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.images import PictureError, PicturePipeline, decode, read_header

SIDE = 96
"""The longest side, in pixels."""

_QUALITY = 80


def of_file(path: Path, side: int = SIDE) -> bytes | None:
    """Return a picture's thumbnail, or None where it can't be decoded.

    Raises:
        OSError: the file can't be read.
    """
    content = path.read_bytes()
    try:
        header = read_header(content)
        ratio = min(1.0, side / max(header.width, header.height))
        pipeline = PicturePipeline(
            max(1, round(header.height * ratio)), max(1, round(header.width * ratio)), scaled_decoding=True
        )
        return of_pixels(decode(content, pipeline), side)
    except PictureError:
        return None


def of_pixels(pixels: NDArray[np.uint8], side: int = SIDE) -> bytes:
    """Return the thumbnail of `[H, W, 3]` RGB or `[H, W]` grey pixels; one that is small already keeps its size."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
