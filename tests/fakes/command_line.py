"""What a command of `twinset` printed, and tiny pictures to give it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Twinset = Callable[..., Outcome]


def picture(red: int, green: int, blue: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, green, blue)).save(buffer, kind)
    return buffer.getvalue()
