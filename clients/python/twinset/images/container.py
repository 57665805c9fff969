"""What a picture file says about itself, read without decoding a pixel.

The formats are walked here, rather than by Pillow, for three reasons: dimensions are known before anything of their
size is allocated; metadata (which can inflate, nest and make Pillow warn) never reaches the decoder; and what
orientation and profile apply doesn't depend on a version of Pillow.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAX_PICTURE_BYTES = 20 * 1024 * 1024
MAX_PICTURE_PIXELS = 50_000_000
MAX_PICTURE_SIDE = 65_535
"""What JPEG can say. A line of 50 million pixels would cost a gigabyte of filter coefficients to resize."""

MAX_WEBP_PIXELS = 25_000_000
"""Pillow's decoder of WebP holds three copies of a picture, all of four bytes a pixel, besides the result."""

MAX_SCANS = 100
"""Of a progressive JPEG, which has about ten. Each goes over all pixels, and takes eleven bytes."""

MAX_PARTS = 100_000
"""Segments or chunks of a file; each costs half a microsecond."""

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# IHDR to tRNS shape the pixels. All else is text, animation or taste, and is dropped.
_PNG_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}  # 0xEE: Adobe's, which tells inverted CMYK
_JPEG_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_ORIENTATION_TAG = 0x0112

# Any number of bytes FF may stand before a marker; what a zero follows is no marker.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xfe]")
# Within a scan's data markers to begin again at stand too.
_JPEG_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_SCAN = b"\xff\xda"
_JPEG_END = 0xD9


class PictureError(ValueError):
    """The bytes are no picture that twinset accepts; the message says why, in one sentence for the caller."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """A picture's media type and its size in pixels, orientation applied."""

    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Container:
    """A picture file taken apart.

    Attributes:
        media_type: `image/jpeg`, `image/png` or `image/webp`.
        width: pixels across as stored, before orientation.
        height: pixels down as stored.
        orientation: EXIF's, 1 to 8; 1 where there is none, or no legible one.
        profile: the ICC profile, for PNG still compressed; empty where there is none.
        pixels: a file with the pixels alone, for the decoder.
        sample_bits: bits of a sample; other than 8 in PNG only.
    """

    media_type: str
    width: int
    height: int
    orientation: int
    profile: bytes
    pixels: bytes
    sample_bits: int = 8


def open_container(content: bytes) -> Container:
    """Return the file taken apart.

    Raises:
        PictureError: it is of another format, cut off, damaged, or over the limits.
    """
    if not content:
        raise PictureError("the picture is empty, it has no bytes")
    if len(content) > MAX_PICTURE_BYTES:
        raise PictureError(
            f"{len(content) / 1024**2:.1f} MiB are more than the {MAX_PICTURE_BYTES // 1024**2} MiB allowed"
        )
    if content.startswith(b"\xff\xd8\xff"):
        name, read = "JPEG", _open_jpeg
    elif content.startswith(_PNG_SIGNATURE):
        name, read = "PNG", _open_png
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        name, read = "WebP", _open_webp
    else:
        raise PictureError("not a JPEG, PNG or WebP picture")
    try:
        return read(content)
    except (struct.error, IndexError) as error:
        raise PictureError(f"the {name} is cut off or damaged") from error


def _check_size(width: int, height: int, most: int = MAX_PICTURE_PIXELS) -> None:
    if width < 1 or height < 1:
        raise PictureError(f"the picture has no pixels, its size is {width} x {height}")
    if width * height > most:
        raise PictureError(f"{width} x {height} pixels are more than the {most // 1_000_000} million allowed")
    if max(width, height) > MAX_PICTURE_SIDE:
        raise PictureError(f"of {width} x {height} pixels one side is more than the {MAX_PICTURE_SIDE} allowed")


def _check_parts(count: int) -> None:
    if count > MAX_PARTS:
        raise PictureError(f"the picture's file has more than the {MAX_PARTS} parts allowed")


def _open_jpeg(content: bytes) -> Container:
    width = height = 0
    orientation = 1
    profile: dict[int, bytes] = {}
    kept = [content[:2]]
    at = 2
    parts = 0
    while True:
        found = _JPEG_MARKER.search(content, at)
        if found is None:
            raise IndexError("no scan")
        at = found.start()
        marker = content[at + 1]
        parts += 1
        _check_parts(parts)
        if marker in _JPEG_WITHOUT_LENGTH:
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            break
        (length,) = struct.unpack_from(">H", content, at + 2)
        body = content[at + 4 : at + 2 + length]
        if len(body) != length - 2:
            raise IndexError("a segment goes past the end")
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", body, 1)
            _check_size(width, height)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
        if marker not in _JPEG_METADATA:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    if not width:
        raise IndexError("no frame ahead of the first scan")
    _check_scans(content, at)
    kept.append(content[at:])
    icc = b"".join(profile[number] for number in sorted(profile))
    return Container(JPEG, width, height, orientation, icc, b"".join(kept))


def _check_scans(content: bytes, at: int) -> None:
    """Raise `PictureError` where there are too many scans from `at` on, which is where the first begins."""
    # Most often there are few, whatever these two bytes mean where they stand.
    if content.count(_JPEG_SCAN, at) <= MAX_SCANS:
        return
    scans = 0
    while content[at + 1] != _JPEG_END:
        scans += content.startswith(_JPEG_SCAN, at)
        if scans > MAX_SCANS:
            raise PictureError(f"the JPEG has more than the {MAX_SCANS} scans allowed")
        (length,) = struct.unpack_from(">H", content, at + 2)
        found = _JPEG_END_OF_SCAN.search(content, at + 2 + length)
        if found is None:
            return
        at = found.start()


def _open_png(content: bytes) -> Container:
    length, kind, width, height, bits = struct.unpack_from(">I4sIIB", content, 8)
    if kind != b"IHDR" or length != 13:
        raise IndexError("the first chunk isn't IHDR")
    _check_size(width, height)
    orientation = 1
    profile = b""
    kept = [_PNG_SIGNATURE]
    at = 8
    parts = 0
    kind = b""
    pixels_begun = False
    while kind != b"IEND":
        parts += 1
        _check_parts(parts)
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise IndexError("a chunk goes past the end")
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(content[at:end])
            pixels_begun = pixels_begun or kind == b"IDAT"
        elif kind == b"eXIf" and not pixels_begun:
            orientation = _orientation(content[at + 8 : at + 8 + length])
        elif kind == b"iCCP":
            profile = content[at + 8 : at + 8 + length].partition(b"\0")[2][1:]
        elif kind[0] & 0x20 == 0:
            raise IndexError(f"unknown critical chunk {kind!r}")
        at = end
    return Container(PNG, width, height, orientation, profile, b"".join(kept), bits)


def _open_webp(content: bytes) -> Container:
    (size,) = struct.unpack_from("<I", content, 4)
    if size + 8 > len(content):
        raise IndexError("the file is shorter than it says")
    width, height = _webp_size(content)
    _check_size(width, height, MAX_WEBP_PIXELS)
    orientation = 1
    profile = b""
    at = 12
    parts = 0
    while at + 8 <= size + 8:
        parts += 1
        _check_parts(parts)
        kind, length = struct.unpack_from("<4sI", content, at)
        body = content[at + 8 : at + 8 + length]
        if kind == b"EXIF":
            orientation = _orientation(body.removeprefix(b"Exif\0\0"))
        elif kind == b"ICCP":
            profile = body
        at += 8 + length + length % 2
    return Container(WEBP, width, height, orientation, profile, content)


def _webp_size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise IndexError("no picture in the first chunk")


def _orientation(tiff: bytes) -> int:
    """Return EXIF's orientation; 1 where the block is damaged, since a picture is worth more than its notes."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
