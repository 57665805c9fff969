"""Golden pixels: what pipeline version 1 makes of one picture of each kind.

A hash that changes means that vectors of before and after don't compare: that is a new version of the pipeline. The
colours of the quarters say that the hashes were right to begin with. `make_pictures.py` tells what the pictures show.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from twinset.images import PicturePipeline, decode, read_header

PICTURES = Path(__file__).parent / "pictures"

GOLDEN = {
    "animated.png": "bfde5211a9a6d85e2783ee8a20be726ee81b3ed2f84c29f486e3cdedb7631899",
    "animated.webp": "bfde5211a9a6d85e2783ee8a20be726ee81b3ed2f84c29f486e3cdedb7631899",
    "cmyk.jpg": "433ebfb01a41cf20e0f4071f8dd02fec135e00ce52b83e3bde3086f757a80178",
    "colour_16_bit.png": "bfde5211a9a6d85e2783ee8a20be726ee81b3ed2f84c29f486e3cdedb7631899",
    "grey.jpg": "1eef3a2079379b9204ffddde7c64b3bc598b2ad8f1df2205522ed0551729cb55",
    "grey_16_bit.png": "1eef3a2079379b9204ffddde7c64b3bc598b2ad8f1df2205522ed0551729cb55",
    "grey_16_bit_key.png": "e4905a5c578cb3a2444b8612b0f9b2d873c967963a4314bfd85e2b9ef1d621b2",
    "grey_alpha.png": "1eef3a2079379b9204ffddde7c64b3bc598b2ad8f1df2205522ed0551729cb55",
    "one_bit.png": "a514eb4fc67951ff56560feb99e952b660dbf712ff1e410ca1bf67f66011b6ee",
    "palette.png": "bfde5211a9a6d85e2783ee8a20be726ee81b3ed2f84c29f486e3cdedb7631899",
    "plain.jpg": "a69296bd80bc6662153cf0d803eed9a2e73674a537279cde1a70bceaa29c134c",
    "plain.webp": "bfde5211a9a6d85e2783ee8a20be726ee81b3ed2f84c29f486e3cdedb7631899",
    "profile.jpg": "51e9a7cc9c6952391abd0a1e9373f26023543a0ff9d43be9e4db5ef555d2ad6e",
    "profile.png": "81216e79e60de45811d74ebe6c32ce161bd58173bd59b1fc281db9a2535b1f1b",
    "rotated.jpg": "a28bc809d68f681e3b523b66e3fe508e29ee62bee450cced60d269ba8f3521a6",
    "rotated.png": "cd1415149ce922fd7fc05c0f2ca496f973f9409cd7a32d16543ec03e8854f141",
    "rotated.webp": "cd1415149ce922fd7fc05c0f2ca496f973f9409cd7a32d16543ec03e8854f141",
    "transparent.png": "343cf8810f1a17399b5f57aac1c2d174c5a3c5be970cb6288b87f46c9f41e111",
    "transparent.webp": "343cf8810f1a17399b5f57aac1c2d174c5a3c5be970cb6288b87f46c9f41e111",
    "transparent_key.png": "2f5d6e9afdf0d76ca1674e84b84cb467384ce32b53e8af1fd6026ee47dc0f540",
    "transparent_palette.png": "2f5d6e9afdf0d76ca1674e84b84cb467384ce32b53e8af1fd6026ee47dc0f540",
}

COLOURS = [(220, 30, 30), (40, 180, 60), (30, 50, 210), (240, 220, 40)]
GREYS = [(230,) * 3, (150,) * 3, (20,) * 3, (80,) * 3]
WHITE = (255, 255, 255)

QUARTERS = {
    **dict.fromkeys(GOLDEN, COLOURS),
    "grey.jpg": GREYS,
    "grey_16_bit.png": GREYS,
    "grey_alpha.png": GREYS,
    "grey_16_bit_key.png": [GREYS[0], WHITE, *GREYS[2:]],
    "one_bit.png": [WHITE, WHITE, (0, 0, 0), (0, 0, 0)],
    # Half transparent black on white is grey.
    "transparent.png": [COLOURS[0], WHITE, COLOURS[2], (127, 127, 127)],
    "transparent.webp": [COLOURS[0], WHITE, COLOURS[2], (127, 127, 127)],
    "transparent_key.png": [COLOURS[0], WHITE, *COLOURS[2:]],
    "transparent_palette.png": [COLOURS[0], WHITE, *COLOURS[2:]],
    # Red and blue change places; the profile's gamma of 2.2 is not quite sRGB's curve.
    "profile.jpg": [(30, 30, 220), (60, 180, 40), (210, 50, 30), (40, 220, 240)],
    "profile.png": [(30, 30, 220), (60, 180, 40), (210, 50, 30), (40, 220, 240)],
}


def test_every_picture_has_its_golden_hash() -> None:
    assert sorted(GOLDEN) == sorted(path.name for path in PICTURES.iterdir())


@pytest.mark.parametrize("name", GOLDEN)
def test_the_quarters_have_their_colours(name: str) -> None:
    pixels = decode((PICTURES / name).read_bytes(), PicturePipeline(16, 24))
    centres = pixels[[4, 4, 12, 12], [6, 18, 18, 6]].astype(int)
    assert np.abs(centres - QUARTERS[name]).max() <= (8 if name.startswith("profile") else 2)


@pytest.mark.parametrize("name", GOLDEN)
def test_pixels_are_those_of_version_1(name: str) -> None:
    pixels = decode((PICTURES / name).read_bytes(), PicturePipeline(12, 18))
    assert (pixels.shape, pixels.dtype) == ((12, 18, 3), np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_header_tells_the_upright_size(name: str) -> None:
    header = read_header((PICTURES / name).read_bytes())
    kind = Path(name).suffix[1:].replace("jpg", "jpeg")
    assert (header.media_type, header.width, header.height) == (f"image/{kind}", 24, 16)
