"""What is kept of pictures: nothing, a copy that is no larger than models need, or what was put."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from twinset import images
from twinset_server.domain import NewPicture
from twinset_server.errors import BadPicture, TwinsetError

Kept = Literal["none", "model", "original"]

_LONGEST_SIDE = 512
_QUALITY = 92
"""Of the copy as JPEG, without subsampling of colours: edges of red on blue stay sharp."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Files to keep.

    Attributes:
        files: contents by their SHA-256.
        names: the SHA-256 of a picture's file, by that of the picture as it was put.
        errors: why a picture has no file, by its SHA-256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    errors: dict[str, TwinsetError] = field(default_factory=dict)

    def add(self, other: Contents) -> None:
        """Take in `other`."""
        self.files.update(other.files)
        self.names.update(other.names)
        self.errors.update(other.errors)

    def without(self, failed: Mapping[str, TwinsetError]) -> Contents:
        """Return the same where the files of `failed`, SHA-256 of files, could not be written."""
        errors = {picture: failed[name] for picture, name in self.names.items() if name in failed}
        return Contents(self.files, self.names, self.errors | errors)


def contents_of(pictures: Iterable[NewPicture], kept: Kept) -> Contents:
    """Return the files to keep of `pictures`. Those of `model` cost a decoding each."""
    contents = Contents()
    if kept == "none":
        return contents
    for new in pictures:
        sha256 = new.picture.sha256
        if kept == "original":
            contents.names[sha256] = sha256
            contents.files[sha256] = new.content
        elif sha256 not in contents.names:
            try:
                copy = copy_of(new.content)
            except images.PictureError as error:
                contents.errors[sha256] = BadPicture(f"pictures[{new.picture.id!r}].content", str(error))
                continue
            name = sha256 if copy is new.content else hashlib.sha256(copy).hexdigest()
            contents.names[sha256] = name
            contents.files[name] = copy
    return contents


def copy_of(content: bytes) -> bytes:
    """Return a picture of at most 512 pixels a side: `content` itself where it is no larger, else a JPEG in sRGB.

    Raises:
        PictureError: the content is of another format, damaged, or over the limits.
    """
    header = images.read_header(content)
    longest = max(header.width, header.height)
    if longest <= _LONGEST_SIDE:
        return content
    width, height = (max(1, round(side * _LONGEST_SIDE / longest)) for side in (header.width, header.height))
    pixels = images.decode(content, images.PicturePipeline(height, width, interpolation="lanczos"))
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=_QUALITY, subsampling=0)
    return target.getvalue()
