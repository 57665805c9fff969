from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twinset.images import PictureError, PicturePipeline, colour, decode, read_header

PICTURES = Path(__file__).parent / "pictures"


def encode(pixels: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """Return smooth random colours, as photographs have."""
    coarse = np.random.default_rng(7).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
def test_orientation_is_applied_whatever_the_resize(orientation: int, resize: Literal["squash", "pad", "crop"]) -> None:
    upright = scene(60, 40)
    # What a camera held that way stores, so that the orientation turns it upright again.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(np.ascontiguousarray(stored), exif=exif)
    pipeline = PicturePipeline(20, 30, resize=resize)
    difference = decode(content, pipeline).astype(int) - decode(encode(upright), pipeline)
    # Pillow rounds after each of its two passes, so turned pictures may differ by one level.
    assert np.abs(difference).max() <= 1


def test_pad_keeps_proportions_and_fills_up_with_white() -> None:
    pixels = decode(encode(np.zeros((10, 20, 3), np.uint8)), PicturePipeline(16, 16, resize="pad"))
    assert (pixels[4:12] == 0).all()
    assert (pixels[:4] == 255).all()
    assert (pixels[12:] == 255).all()


def test_crop_takes_the_centre() -> None:
    thirds = np.zeros((10, 30, 3), np.uint8)
    thirds[:, 10:20] = 200
    assert (decode(encode(thirds), PicturePipeline(5, 5, resize="crop", interpolation="nearest")) == 200).all()


def test_squash_with_antialias_is_pillow_s_resize() -> None:
    pixels = scene(90, 70)
    expected = np.asarray(Image.fromarray(pixels).resize((20, 30), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(encode(pixels), PicturePipeline(30, 20)), expected)


def test_without_antialias_samples_lie_between_two_pixels_only() -> None:
    # Of 8 columns to 2, the samples lie at 1.5 and 5.5: between columns 1 and 2, and 5 and 6.
    columns = np.array([0, 10, 30, 0, 0, 100, 200, 0], np.uint8)
    pixels = np.broadcast_to(columns[None, :, None], (4, 8, 3)).copy()
    plain = decode(encode(pixels), PicturePipeline(4, 2, antialias=False))
    np.testing.assert_array_equal(plain[0, :, 0], [20, 150])
    wide = decode(encode(pixels), PicturePipeline(4, 2))
    assert np.abs(wide[0, :, 0].astype(int) - [20, 150]).max() > 5


def test_scaled_decoding_stays_close_to_full_decoding() -> None:
    content = encode(scene(1200, 1600), "JPEG", quality=90)
    scaled = decode(content, PicturePipeline(100, 100))
    full = decode(content, PicturePipeline(100, 100, scaled_decoding=False))
    assert not np.array_equal(scaled, full)  # else it didn't happen
    assert np.abs(scaled.astype(int) - full).max() <= 3


@pytest.mark.parametrize(
    "pipeline",
    [
        PicturePipeline(100, 100, interpolation="nearest"),
        PicturePipeline(100, 100, antialias=False),
    ],
)
def test_scaled_decoding_leaves_plain_sampling_alone(pipeline: PicturePipeline) -> None:
    pixels = np.zeros((800, 800, 3), np.uint8)
    pixels[4::8, 4::8] = 255  # what plain sampling hits, in part
    content = encode(pixels, "JPEG", quality=100, subsampling=0)
    full = decode(encode(np.asarray(Image.open(io.BytesIO(content)))), pipeline)
    np.testing.assert_array_equal(decode(content, pipeline), full)


def test_scaled_decoding_respects_the_part_that_crop_uses() -> None:
    # The whole is 16 times the target across, the part that is used only once.
    content = encode(scene(100, 1600), "JPEG")
    pipeline = PicturePipeline(100, 100, resize="crop")
    full = decode(content, PicturePipeline(100, 100, resize="crop", scaled_decoding=False))
    np.testing.assert_array_equal(decode(content, pipeline), full)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3000), (3000, 1), (7, 5)])
@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_shape_of_picture_gives_the_target_s_shape(
    height: int, width: int, resize: Literal["squash", "pad", "crop"], kind: str
) -> None:
    content = encode(np.full((height, width, 3), 128, np.uint8), kind)
    pixels = decode(content, PicturePipeline(8, 16, resize=resize))
    assert pixels.shape == (8, 16, 3)
    assert set(np.unique(pixels)) <= {127, 128, 129, 255}


def test_a_profile_that_is_damaged_or_of_another_model_is_passed_over() -> None:
    pixels = scene(8, 8)
    plain = decode(encode(pixels), PicturePipeline(8, 8))
    for profile in (b"no profile", bytes(36) + b"acsp" + bytes(100), bytes(16) + b"CMYK" + bytes(16) + b"acsp"):
        np.testing.assert_array_equal(decode(encode(pixels, icc_profile=profile), PicturePipeline(8, 8)), plain)


def test_a_transparent_colour_of_few_bits_is_found() -> None:
    # One row of the levels 0, 1, 2 and 3 in two bits each, of which 1 is transparent.
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)),
        (b"tRNS", b"\0\1"),
        (b"IDAT", zlib.compress(b"\0\x1b")),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    pixels = decode(content, PicturePipeline(1, 4, interpolation="nearest"))
    assert pixels[0, :, 0].tolist() == [0, 255, 170, 255]


def test_threads_get_the_same_pixels() -> None:
    content = encode(scene(300, 400), "JPEG")
    expected = decode(content, PicturePipeline(32, 32))
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(lambda _: decode(content, PicturePipeline(32, 32)), range(64)):
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("path", sorted(PICTURES.iterdir()), ids=lambda path: path.name)
def test_whatever_the_bytes_it_is_pixels_or_a_picture_error(path: Path) -> None:
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    pipeline = PicturePipeline(8, 8)
    for _ in range(150):
        content = bytearray(whole)
        for at in random.integers(0, len(content), random.integers(1, 6)):
            content[at] = random.integers(0, 256)
        if random.random() < 0.3:
            del content[random.integers(1, len(content)) :]
        try:
            read_header(bytes(content))
            assert decode(bytes(content), pipeline).shape == (8, 8, 3)
        except PictureError:
            continue


def test_a_large_picture_is_made_opaque_band_by_band_as_a_small_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clear = Image.fromarray(scene(60, 40)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    pictures = [clear, clear.convert("LA"), clear.convert("RGB").quantize(16), Image.new("I;16", (40, 60), 30_000)]
    pictures[2].info["transparency"] = 3
    pictures[3].info["transparency"] = 30_000
    whole = [np.asarray(colour.lay_on_white(picture, 8)) for picture in pictures]
    monkeypatch.setattr(colour, "_WHOLE_PIXELS", 40 * 7)
    monkeypatch.setattr(colour, "_BAND_PIXELS", 40 * 7)
    for picture, expected in zip(pictures, whole, strict=True):
        assert (np.asarray(colour.lay_on_white(picture, 8)) == expected).all()
