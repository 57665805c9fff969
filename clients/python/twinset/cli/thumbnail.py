"""Pictures made small enough to lie inside an HTML page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from twinset.images import PictureError, PicturePipeline, decode, read_header

_LONGEST_SIDE = 320
_KEPT_BYTES = 24 * 1024
# Below this a browser would blur what little there is.
_TINY_SIDE = 64


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a `data:` address. `tiny` ones look best with their pixels left square."""

    address: str
    width: int
    height: int
    tiny: bool


def thumbnail(content: bytes) -> Thumbnail | None:
    """Return the picture at most 320 pixels long, or None where it can't be decoded.

    One that is small already is taken as it is.
    """
    try:
        header = read_header(content)
        longest = max(header.width, header.height)
        media_type, width, height = header.media_type, header.width, header.height
        if longest > _LONGEST_SIDE or len(content) > _KEPT_BYTES:
            ratio = min(1.0, _LONGEST_SIDE / longest)
            width, height = max(1, round(width * ratio)), max(1, round(height * ratio))
            pixels = Image.fromarray(decode(content, PicturePipeline(height, width, interpolation="lanczos")))
            buffer = io.BytesIO()
            pixels.save(buffer, "JPEG", quality=85, optimize=True)
            content, media_type = buffer.getvalue(), "image/jpeg"
    except PictureError:
        return None
    address = f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
    return Thumbnail(address, width, height, longest <= _TINY_SIDE)
