"""Makes the pictures of the golden test: `python tests/twinset/images/make_pictures.py`.

All show the same, 24 x 16 pixels: red, green, blue and yellow quarters, clockwise from the top left; grey ones show the
levels 230, 150, 20 and 80. They are kept in git, since another version of an encoder would write other bytes.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURES = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 24, 16
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (40, 180, 60), (30, 50, 210), (240, 220, 40)
LEVELS = (230, 150, 20, 80)


def quarters(a: object, b: object, c: object, d: object, dtype: type[np.generic] = np.uint8) -> NDArray[np.generic]:
    """Return `[16, 24]` or `[16, 24, C]`: a top left, b top right, c bottom right, d bottom left."""
    rows = np.array([[a, b], [d, c]], dtype=dtype)
    return rows.repeat(HEIGHT // 2, axis=0).repeat(WIDTH // 2, axis=1)


def png(samples: NDArray[np.generic], colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of 8 or 16 bits a sample, which Pillow can't write for every colour type."""
    bits = samples.dtype.itemsize * 8
    rows = samples.astype(f">u{bits // 8}").reshape(HEIGHT, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour_type, 0, 0, 0)
    named = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in named
    )


def swapped_profile() -> bytes:
    """Return an ICC profile of a display whose red and blue have changed places; otherwise it is nearly sRGB."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"swapped\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {
        b"desc": description + bytes(-len(description) % 4),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    offset = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", offset + len(bodies), len(body))
        bodies += body
    header = struct.pack(">I4sI4s4s4s", offset + len(bodies), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + bodies


def main() -> None:
    """Write every picture."""
    colour = Image.fromarray(quarters(RED, GREEN, BLUE, YELLOW))
    grey = Image.fromarray(quarters(*LEVELS))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise
    # Where it is transparent, what lies below must not shine through.
    glass = quarters((*RED, 255), (0, 0, 0, 0), (*BLUE, 255), (0, 0, 0, 128))
    palette = colour.quantize(4)
    clear = palette.getpixel((20, 2))
    assert isinstance(clear, int)
    other = colour.transpose(Image.Transpose.ROTATE_180)
    deep = quarters(*(level * 257 for level in LEVELS), dtype=np.uint16)
    key = struct.pack(">H", LEVELS[1] * 257)
    deep_colour = quarters(RED, GREEN, BLUE, YELLOW, dtype=np.uint16) * 257
    profile = swapped_profile()

    PICTURES.mkdir(exist_ok=True)
    colour.save(PICTURES / "plain.jpg", quality=95, subsampling=0)
    colour.save(PICTURES / "plain.webp", lossless=True)
    colour.transpose(Image.Transpose.ROTATE_90).save(PICTURES / "rotated.jpg", quality=95, subsampling=0, exif=turned)
    colour.transpose(Image.Transpose.ROTATE_90).save(PICTURES / "rotated.png", exif=turned)
    colour.transpose(Image.Transpose.ROTATE_90).save(PICTURES / "rotated.webp", lossless=True, exif=turned)
    Image.fromarray(glass).save(PICTURES / "transparent.png")
    Image.fromarray(glass).save(PICTURES / "transparent.webp", lossless=True, exact=True)
    palette.save(PICTURES / "transparent_palette.png", transparency=clear)
    colour.save(PICTURES / "transparent_key.png", transparency=GREEN)
    colour.convert("CMYK").save(PICTURES / "cmyk.jpg", quality=95, subsampling=0)
    (PICTURES / "grey_16_bit.png").write_bytes(png(deep, 0))
    (PICTURES / "grey_16_bit_key.png").write_bytes(png(deep, 0, (b"tRNS", key)))
    (PICTURES / "colour_16_bit.png").write_bytes(png(deep_colour, 2))
    palette.save(PICTURES / "palette.png")
    grey.save(PICTURES / "grey.jpg", quality=95)
    grey.convert("LA").save(PICTURES / "grey_alpha.png")
    grey.point(lambda level: 255 if level > 100 else 0).convert("1").save(PICTURES / "one_bit.png")
    colour.save(PICTURES / "animated.webp", lossless=True, save_all=True, append_images=[other], duration=100)
    colour.save(PICTURES / "animated.png", save_all=True, append_images=[other], duration=100)
    colour.save(PICTURES / "profile.png", icc_profile=profile)
    colour.save(PICTURES / "profile.jpg", icc_profile=profile, quality=95, subsampling=0)


if __name__ == "__main__":
    main()
