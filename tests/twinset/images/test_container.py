from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from twinset.images import MAX_PICTURE_BYTES, PictureError, PicturePipeline, decode, read_header

PICTURES = Path(__file__).parent / "pictures"
PIPELINE = PicturePipeline(8, 8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 30, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_png_bomb_is_refused_by_its_header() -> None:
    bomb = png(16000, 10000, chunk(b"IDAT", zlib.compress(bytes(10000 * 2001), 9)))
    for refuse in (read_header, lambda content: decode(content, PIPELINE)):
        with pytest.raises(PictureError) as refusal:
            refuse(bomb)
        assert str(refusal.value) == "16000 x 10000 pixels are more than the 50 million allowed"


def test_jpeg_and_webp_bombs_are_refused_too() -> None:
    jpeg = bytearray(saved("JPEG"))
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = struct.pack(">HH", 60000, 60000)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00\xff\x3f\x00"
    webp = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    for bomb, refused in (
        (bytes(jpeg), "60000 x 60000 pixels are more than the 50 million allowed"),
        (webp, "16384 x 16384 pixels are more than the 25 million allowed"),
    ):
        with pytest.raises(PictureError, match=refused):
            decode(bomb, PIPELINE)


def test_a_side_longer_than_a_jpeg_may_have_is_refused() -> None:
    with pytest.raises(PictureError, match="one side is more than the 65535 allowed"):
        read_header(png(65_536, 1))
    assert read_header(png(65_535, 1)).width == 65_535


def test_a_jpeg_of_many_scans_is_refused_and_one_of_many_markers_within_its_data_is_not() -> None:
    progressive = saved("JPEG", progressive=True)
    begin = progressive.rindex(b"\xff\xda")
    scan = progressive[begin:-2]
    for scans, refused in ((80, False), (100, True)):
        content = progressive[:begin] + scan * scans + b"\xff\xd9"
        if refused:
            with pytest.raises(PictureError, match="more than the 100 scans allowed"):
                read_header(content)
        else:
            assert decode(content, PIPELINE).shape == (8, 8, 3)
    # What follows the picture, such as a film, isn't part of it.
    assert read_header(progressive + b"\xff\xda" * 1000).width == 20


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff\xe1\0\2" * 100_001,
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
        + chunk(b"tEXt", b"") * 100_000,
    ],
    ids=["JPEG", "PNG"],
)
def test_a_file_of_too_many_parts_is_refused(content: bytes) -> None:
    with pytest.raises(PictureError, match="more than the 100000 parts allowed"):
        read_header(content)


def test_fifty_million_pixels_are_still_allowed() -> None:
    assert read_header(png(10_000, 5_000)).width == 10_000
    with pytest.raises(PictureError, match="10000 x 5001"):
        read_header(png(10_000, 5_001))


def test_more_than_20_mib_are_refused() -> None:
    content = saved("JPEG")
    assert read_header(content + bytes(MAX_PICTURE_BYTES - len(content))).width == 20
    with pytest.raises(PictureError, match=r"20\.0 MiB are more than the 20 MiB allowed"):
        read_header(content + bytes(MAX_PICTURE_BYTES - len(content) + 1))


def test_texts_that_inflate_never_reach_the_decoder() -> None:
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    whole = saved("PNG")
    content = whole[:33] + bomb * 3 + whole[33:]
    pixels = decode(content, PIPELINE)
    assert tuple(pixels[4, 4]) == (200, 30, 30)


def test_metadata_leaves_the_pixels_as_they_are() -> None:
    notes = PngInfo()
    notes.add_text("comment", "x" * 1000, zip=True)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for kind, options in (("PNG", {"pnginfo": notes}), ("JPEG", {"comment": b"x" * 500, "exif": exif})):
        noted = saved(kind, **options)
        assert len(noted) > len(saved(kind))
        np.testing.assert_array_equal(decode(noted, PIPELINE), decode(saved(kind), PIPELINE))


@pytest.mark.parametrize(
    "exif",
    [b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\xff", b"MM\0*", b"nonsense", b"MM\0*\0\0\0\x08\0\1\1\x12\0\4"],
)
def test_damaged_exif_means_no_orientation(exif: bytes) -> None:
    content = saved("JPEG", exif=b"Exif\0\0" + exif)
    assert (read_header(content).width, read_header(content).height) == (20, 10)
    assert decode(content, PIPELINE).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_is_cut_off_is_an_error(kind: str, progressive: bool) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(5).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind, **({"progressive": progressive} if kind == "JPEG" else {}))
    name = {"WEBP": "WebP"}.get(kind, kind)
    for share in (0.01, 0.3, 0.6, 0.9):
        with pytest.raises(PictureError, match=f"the {name} is cut off or damaged|not a JPEG"):
            decode(buffer.getvalue()[: int(len(buffer.getvalue()) * share)], PIPELINE)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the picture is empty, it has no bytes"),
        (b"just some text", "not a JPEG, PNG or WebP picture"),
        (b"GIF89a" + bytes(50), "not a JPEG, PNG or WebP picture"),
        (b"BM" + bytes(50), "not a JPEG, PNG or WebP picture"),
        (b"RIFF\0\0\0\0WAVE", "not a JPEG, PNG or WebP picture"),
        (b"\xff\xd8\xff\xd9", "the JPEG is cut off or damaged"),
        (png(0, 5), "the picture has no pixels, its size is 0 x 5"),
        (png(5, 5), "the PNG is cut off or damaged"),
        (png(5, 5, chunk(b"ABCD", b"")), "the PNG is cut off or damaged"),
    ],
)
def test_what_is_no_picture_is_told_in_one_sentence(content: bytes, says: str) -> None:
    with pytest.raises(PictureError) as refusal:
        decode(content, PIPELINE)
    assert str(refusal.value) == says


def test_a_camera_s_file_of_several_pictures_is_its_first_one() -> None:
    buffer = io.BytesIO()
    first, second = Image.new("RGB", (20, 10), (200, 30, 30)), Image.new("RGB", (20, 10), (30, 30, 200))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert read_header(buffer.getvalue()).media_type == "image/jpeg"
    assert np.abs(decode(buffer.getvalue(), PIPELINE)[4, 4].astype(int) - (200, 30, 30)).max() <= 3
