"""Many thumbnails in one JPEG: thousands of small files would be three times as large, mostly headers."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

CELL = 64
"""Side of a thumbnail's square, in pixels."""

_QUALITY = 72
_PAPER = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Atlas:
    """A sheet of square cells, filled row by row.

    Attributes:
        jpeg: the encoded sheet.
        columns: cells in a row.
        cells: for each item its cell, from 0; -1 for an item without a picture.
    """

    jpeg: bytes
    columns: int
    cells: tuple[int, ...]


def lay_out(thumbnails: Sequence[bytes | None]) -> Atlas | None:
    """Return the sheet of all thumbnails, or None where no item has one.

    Raises:
        PIL.UnidentifiedImageError: a thumbnail is no JPEG.
    """
    count = sum(picture is not None for picture in thumbnails)
    if count == 0:
        return None
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * CELL, math.ceil(count / columns) * CELL), _PAPER)
    cells: list[int] = []
    used = 0
    for thumbnail in thumbnails:
        if thumbnail is None:
            cells.append(-1)
            continue
        with Image.open(io.BytesIO(thumbnail), formats=["JPEG"]) as picture:
            small = picture.convert("RGB")
        small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        left, top = used % columns * CELL, used // columns * CELL
        sheet.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))
        cells.append(used)
        used += 1
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return Atlas(buffer.getvalue(), columns, tuple(cells))
