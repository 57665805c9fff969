"""Colours: whatever a decoder gives, to opaque pixels, and those to sRGB."""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_PROFILE_OF_MODE = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}


_WHOLE_PIXELS = 4_000_000
"""Larger pictures are made opaque band by band, since on the way a pixel takes up to 20 bytes."""

_BAND_PIXELS = 1_000_000


def lay_on_white(image: Image.Image, sample_bits: int) -> Image.Image:
    """Return the picture without transparency, as `L`, `RGB` or `CMYK`.

    Args:
        image: loaded, in any mode that Pillow's JPEG, PNG and WebP decoders give.
        sample_bits: bits of a sample in the file, 1 to 16.
    """
    if image.mode in ("L", "RGB", "CMYK") and image.info.get("transparency") is None:
        return image
    if image.width * image.height <= _WHOLE_PIXELS:
        return _opaque(image, sample_bits)
    rows = max(1, _BAND_PIXELS // image.width)
    opaque: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = _opaque(image.crop((0, top, image.width, min(top + rows, image.height))), sample_bits)
        if opaque is None:
            opaque = Image.new(band.mode, image.size)
        opaque.paste(band, (0, top))
    return opaque or image


def _opaque(image: Image.Image, sample_bits: int) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode in ("L", "RGB", "I;16"):
        return _key_to_white(np.asarray(image), key, sample_bits)
    if image.mode == "1":
        # Of two colours, either the transparent one is white already, or the black becomes white too.
        return Image.new("L", image.size, 255) if key == 0 else image.convert("L")
    if image.mode == "P" and key is None:
        return image.convert("RGB")
    mode = "L" if image.mode == "LA" else "RGB"
    seen = image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    opaque = Image.new(mode, image.size, "white")
    opaque.paste(seen.convert(mode), mask=seen.getchannel("A"))
    return opaque


def _key_to_white(samples: NDArray[np.uint8 | np.uint16], key: object, bits: int) -> Image.Image:
    """Return `[H, W]` or `[H, W, 3]` samples as 8 bits each, those of the colour `key` in white."""
    pixels = (samples >> 8).astype(np.uint8) if samples.dtype == np.uint16 else samples.astype(np.uint8)
    if key is not None:
        colour = np.array(key, dtype=np.int64)
        if samples.dtype != np.uint16:
            # The key is in the file's own scale. Pillow spread 2 and 4 bits over 0 to 255, and cut 16 of RGB to 8.
            colour = colour >> 8 if bits == 16 else colour * (255 // (2**bits - 1))
        transparent = samples == colour
        pixels[transparent.all(axis=-1) if samples.ndim == 3 else transparent] = 255
    return Image.fromarray(pixels)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an opaque picture as sRGB `RGB`.

    Args:
        image: `L`, `RGB` or `CMYK`.
        profile: its ICC profile, possibly zlib-compressed (as in PNG), or empty. One that is damaged, too large or of
            another colour model than the picture is passed over, as browsers do.
    """
    profile = _inflated(profile)
    if profile[16:20] == _PROFILE_OF_MODE.get(image.mode) and not _is_srgb(profile):
        try:
            transform = ImageCms.buildTransform(
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                _SRGB,
                image.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")
        return transform.apply(image)
    return image.convert("RGB")


def _inflated(profile: bytes) -> bytes:
    if profile[36:40] == b"acsp":
        return profile if len(profile) <= _MAX_PROFILE_BYTES else b""
    try:
        return zlib.decompressobj().decompress(profile, _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""


def _is_srgb(profile: bytes) -> bool:
    # HP's and lcms's sRGB call themselves so in their description; converting those would cost 1 ms for nothing.
    return b"sRGB" in profile[:1024] or b"s\0R\0G\0B" in profile[:1024]
