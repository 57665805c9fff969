"""Small real pictures."""

from __future__ import annotations

import io

from PIL import Image

RED, GREEN, BLUE = (200, 20, 20), (20, 200, 20), (20, 20, 200)
TEXT = b"this is no picture"


def png(colour: tuple[int, int, int] = RED, other: tuple[int, int, int] | None = None, share: float = 0.5) -> bytes:
    """Return a 40x30 PNG of one colour; `other` fills `share` of it from the right."""
    image = Image.new("RGB", (40, 30), colour)
    if other is not None:
        image.paste(other, (round(40 * (1 - share)), 0, 40, 30))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()
