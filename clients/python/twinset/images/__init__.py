"""The picture pipeline: encoded bytes to the pixels that a model sees, the same in training and in serving.

Version 1 does, in this order:

1. Reads the header. JPEG, PNG and WebP are accepted, up to 20 MiB and 50 million pixels (WebP 25), before any pixel is
   decoded.
2. Decodes; an animation counts by its first frame (of an animated PNG the one that viewers without animation show).
   With `scaled_decoding` a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves enough detail.
3. Lays transparency on white: alpha channels, palettes with alpha, transparent colours of PNG. Of 16-bit samples the
   upper 8 bits count.
4. Resizes, by `resize`, `interpolation` and `antialias`.
5. Turns colours into sRGB: by the embedded ICC profile where it is usable, else CMYK by Pillow's plain formula, and
   everything else as sRGB already.
6. Applies the orientation from EXIF (in PNG: from an eXIf chunk ahead of the pixels), then pads where asked to.

What it does is part of a model's fingerprint: a change that moves pixels is a new version.
"""

from twinset.images.container import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS, PictureError, PictureHeader
from twinset.images.decoding import decode, read_header
from twinset.images.pipeline import PicturePipeline

__all__ = [
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_PIXELS",
    "PictureError",
    "PictureHeader",
    "PicturePipeline",
    "decode",
    "read_header",
]
