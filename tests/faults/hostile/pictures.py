"""Pictures that mean harm: small ones of every kind to be mutated, and bombs.

Mutations know the containers: a PNG's chunks get right checksums again, so that damage reaches the decoder.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from PIL import Image, ImageCms

from faults.hostile.messages import damaged

SIZE = (48, 40)

_PNG = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> list[bytes]:
    """Return small pictures: each format, mode and trait that a decoder has a way of its own for."""
    colours = Image.effect_noise(SIZE, 60).convert("RGB")
    clear = colours.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(SIZE))
    deep = Image.new("I;16", SIZE, 30_000)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    grey, palette = colours.convert("L"), colours.quantize(16)
    return [
        _encoded(colours, "JPEG", exif=exif, icc_profile=profile),
        _encoded(colours, "JPEG", progressive=True, subsampling=2),
        _encoded(colours.convert("CMYK"), "JPEG"),
        _encoded(grey, "JPEG", restart_marker_blocks=1),
        _encoded(colours, "PNG", icc_profile=profile, exif=exif),
        _encoded(clear, "PNG"),
        _encoded(grey.convert("LA"), "PNG"),
        _encoded(palette, "PNG", transparency=3),
        _encoded(colours.convert("1"), "PNG"),
        _encoded(deep, "PNG"),
        _interlaced(),
        _encoded(colours, "WEBP", exif=exif, icc_profile=profile),
        _encoded(clear, "WEBP", lossless=True),
        _encoded(clear, "WEBP", save_all=True, append_images=[colours, grey.convert("RGB")]),
        _encoded(colours, "GIF"),
        _encoded(colours, "TIFF"),
        _encoded(colours, "BMP"),
        _encoded(colours, "PNG", save_all=True, append_images=[colours] * 3),
    ]


def mutated(content: bytes, random: Random) -> bytes:
    """Return the picture with damage that its container may not show."""
    draw = random.random()
    if content.startswith(_PNG) and draw < 0.7:
        return _mended(_png_mutated(content, random))
    if content.startswith(b"\xff\xd8") and draw < 0.4:
        return _jpeg_mutated(content, random)
    if draw < 0.6:
        return _number_changed(content, random)
    return damaged(content, random)


def bombs() -> dict[str, Callable[[], bytes]]:
    """Return how to make pictures that would cost more than they take, each by what it is."""
    small = _encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    frames = [Image.new("RGB", (64, 64), (number % 256, 0, 0)) for number in range(1_000)]
    made: dict[str, Callable[[], bytes]] = {
        f"PNG that says {width} x {height}": partial(_png, width, height, 8, 2, b"")
        for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (0, 5), (50_000_001, 1))
    }
    return made | {
        "PNG of 50 million pixels of nothing": lambda: _png(10_000, 5_000, 8, 2, zlib.compress(bytes(1 << 20), 9)),
        "PNG of 50 million grey pixels, well packed": lambda: _flat_png(10_000, 5_000, 8, 0, 1),
        "PNG of 50 million colours of 16 bits": lambda: _flat_png(10_000, 5_000, 16, 6, 8),
        "PNG of a line of 50 million pixels": lambda: _flat_png(50_000_000, 1, 8, 2, 3),
        "PNG of a column of 50 million pixels": lambda: _flat_png(1, 50_000_000, 1, 0, 1),
        "PNG whose pixels inflate to a gigabyte": lambda: _png(100, 100, 8, 2, _gigabyte()),
        "PNG with a text that inflates to a gigabyte": lambda: _with_chunk(b"zTXt", b"a\0\0" + _gigabyte()),
        "PNG with a profile that inflates to a gigabyte": lambda: _with_chunk(b"iCCP", b"a\0\0" + _gigabyte()),
        "PNG of 100,000 empty chunks": lambda: _png(4, 4, 8, 2, b"", extra=_chunk(b"tEXt", b"") * 100_000),
        "PNG of 1,000,000 empty pixel chunks": lambda: _png(4, 4, 8, 2, b"", extra=_chunk(b"IDAT", b"") * 1_000_000),
        "animated PNG that says 2 billion frames": lambda: _with_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        "progressive JPEG of 50 million pixels": lambda: _encoded(
            Image.new("L", (10_000, 5_000), 128), "JPEG", progressive=True, quality=30
        ),
        "JPEG of 50 million CMYK pixels": lambda: _encoded(Image.new("CMYK", (10_000, 5_000)), "JPEG", quality=30),
        "JPEG that says 65,535 x 65,535": lambda: _jpeg_of_size(small, 65_535, 65_535),
        "JPEG that says 7,000 x 7,000 and holds a few bytes": lambda: _jpeg_of_size(small, 7_000, 7_000),
        "JPEG of 7,000 x 7,000 and 20,000 scans": lambda: _jpeg_of_size(_many_scans(small, 20_000), 7_000, 7_000),
        "JPEG of 200,000 empty segments": lambda: small[:2] + b"\xff\xe1\0\2" * 200_000 + small[2:],
        "JPEG of one marker": lambda: b"\xff\xd8" + b"\xff" * (19 << 20),
        "WebP of 1,000 frames": lambda: _encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "WebP that says 16,384 x 16,384": lambda: _webp_of_size(16_384, 16_384),
        "WebP of 25 million pixels": lambda: _encoded(Image.new("RGBA", (5_000, 5_000)), "WEBP", quality=1, method=0),
        "20 MiB of zeros": lambda: bytes(20 << 20),
        "GIF of 100 frames": lambda: _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:100]),
    }


def _gigabyte() -> bytes:
    packer = zlib.compressobj(1)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1 << 10)), packer.flush()])


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(
    width: int, height: int, bits: int, colour: int, pixels: bytes, *, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return _PNG + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _flat_png(width: int, height: int, bits: int, colour: int, pixel_bytes: int) -> bytes:
    """Return a PNG whose pixels are all alike; one of less than a byte takes a byte a row here."""
    row = bytes(1 + (width * pixel_bytes if bits >= 8 else (width * bits + 7) // 8))
    packer = zlib.compressobj(1)
    together = max(1, (1 << 20) // len(row))
    parts = [packer.compress(row * min(together, height - done)) for done in range(0, height, together)]
    return _png(width, height, bits, colour, b"".join([*parts, packer.flush()]))


def _interlaced() -> bytes:
    width = height = 8
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    rows = b"".join((b"\0" + b"\x40\x80\xc0" * across) * down for across, down in passes)
    return _png(width, height, 8, 2, zlib.compress(rows), interlaced=1)


def _with_chunk(kind: bytes, body: bytes) -> bytes:
    pixels = zlib.compress((b"\0" + bytes(12)) * 4)
    return _png(4, 4, 8, 2, pixels, extra=_chunk(kind, body))


def _jpeg_of_size(content: bytes, width: int, height: int) -> bytes:
    at = next(at for at in (content.find(b"\xff\xc2"), content.find(b"\xff\xc0")) if at >= 0)
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


def _many_scans(content: bytes, count: int) -> bytes:
    begin = content.find(b"\xff\xda")
    end = content.find(b"\xff", begin + 2)
    scan = content[begin:end]
    return content[:begin] + scan * count + content[begin:]


def _webp_of_size(width: int, height: int) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        found.append((kind, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png_mutated(content: bytes, random: Random) -> list[tuple[bytes, bytes]]:
    chunks = _chunks(content) or [(b"IHDR", bytes(13))]
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(chunks))
        kind, body = chunks[at]
        change: Callable[[], list[tuple[bytes, bytes]]] = random.choice(
            (
                lambda at=at, kind=kind, body=body: [(kind, _number_changed(body, random))],
                lambda at=at, kind=kind, body=body: [(kind, damaged(body, random))],
                lambda at=at, kind=kind, body=body: [(kind, body)] * random.choice((0, 2, 3)),
                lambda at=at, kind=kind, body=body: [
                    (random.choice((b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"gAMA")), body)
                ],
                lambda at=at, kind=kind, body=body: [(kind, _repacked(body, random))],
            )
        )
        chunks[at : at + 1] = change()
        if not chunks:
            break
    return chunks


def _mended(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return _PNG + b"".join(_chunk(kind, body) for kind, body in chunks)


def _repacked(body: bytes, random: Random) -> bytes:
    """Return what was packed, damaged within."""
    try:
        return zlib.compress(damaged(zlib.decompress(body), random))
    except zlib.error:
        return damaged(body, random)


def _jpeg_mutated(content: bytes, random: Random) -> bytes:
    """Return a JPEG one of whose segments says something else, is there twice, or is gone."""
    marks = [at for at in range(2, len(content) - 4) if content[at] == 0xFF and 0xC0 <= content[at + 1] <= 0xFE]
    if not marks:
        return damaged(content, random)
    at = random.choice(marks)
    length = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    segment = content[at : at + length]
    changed = random.choice(
        (
            b"",
            segment * 2,
            segment[:4] + damaged(segment[4:], random),
            segment[:4] + _number_changed(segment[4:], random),
        )
    )
    return content[:at] + changed + content[at + length :]


def _number_changed(content: bytes, random: Random) -> bytes:
    """Return the bytes with a number in them that is at the end of what fits, in either order of bytes."""
    width = random.choice((1, 2, 4))
    if len(content) < width:
        return content
    number = random.choice(_NUMBERS) & ((1 << 8 * width) - 1)
    # Headers are at the beginning, and decide most.
    at = min(random.randrange(len(content) - width + 1), random.randrange(len(content) - width + 1))
    return content[:at] + number.to_bytes(width, random.choice(("big", "little"))) + content[at + width :]
