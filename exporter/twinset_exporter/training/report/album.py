"""The pictures of a page: each lies in it once, however often it is shown."""

from __future__ import annotations

import base64
import hashlib
import io
from html import escape

from PIL import Image


class Album:
    """Collects pictures while a page is written; `markup` then goes in front of what shows them."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, int, int, bytes]] = {}

    def show(self, jpeg: bytes, text: str) -> str:
        """Return an SVG element that shows a picture, letterboxed into whatever room it gets.

        Args:
            jpeg: the encoded picture.
            text: what a reader hears who doesn't see it.

        Raises:
            PIL.UnidentifiedImageError: the bytes are no picture.
        """
        key = hashlib.sha256(jpeg).hexdigest()
        if key not in self._entries:
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                self._entries[key] = (len(self._entries), picture.width, picture.height, jpeg)
        number, width, height, _ = self._entries[key]
        # What `use` points at is shared, an `img` with its own `data:` address isn't.
        return (
            f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(text)}">'
            f'<use href="#picture-{number}"/></svg>'
        )

    def markup(self) -> str:
        """Return an invisible element that holds every picture."""
        pictures = "\n".join(
            f'<image id="picture-{number}" width="{width}" height="{height}" href="{jpeg_address(jpeg)}"/>'
            for number, width, height, jpeg in self._entries.values()
        )
        return f'<svg width="0" height="0" class="album" aria-hidden="true"><defs>\n{pictures}\n</defs></svg>'


def jpeg_address(jpeg: bytes) -> str:
    """Return a picture as a `data:` address."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
