import io

import numpy as np
import pytest
from PIL import Image

from fakes.items import new_picture
from twinset import images
from twinset_server.catalog.store.contents import contents_of, copy_of
from twinset_server.errors import BadPicture


def encoded(width: int, height: int, kind: str = "PNG", **options: object) -> bytes:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (height, width, 3))
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, kind, **options)
    return target.getvalue()


def test_a_copy_has_at_most_512_pixels_a_side_and_looks_the_same() -> None:
    original = encoded(1400, 700)
    copy = copy_of(original)
    header = images.read_header(copy)
    assert (header.media_type, header.width, header.height) == ("image/jpeg", 512, 256)
    pipeline = images.PicturePipeline(64, 128)
    seen = [images.decode(content, pipeline).astype(int) for content in (original, copy)]
    assert np.abs(seen[0] - seen[1]).max() <= 3


def test_a_copy_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    header = images.read_header(copy_of(encoded(1400, 700, "JPEG", exif=exif)))
    assert (header.width, header.height) == (256, 512)


def test_a_picture_that_is_small_already_is_kept_as_it_is() -> None:
    original = encoded(512, 300)
    assert copy_of(original) is original


def test_a_copy_is_named_by_its_own_sha256() -> None:
    new = new_picture("0", encoded(600, 600))
    contents = contents_of([new], "model")
    [name] = contents.files
    assert contents.names == {new.picture.sha256: name}
    assert name != new.picture.sha256
    assert contents_of([new], "original").names == {new.picture.sha256: new.picture.sha256}
    assert contents_of([new], "none").files == {}


def test_a_damaged_picture_has_no_copy_and_its_own_error() -> None:
    good, bad = new_picture("0", encoded(600, 600)), new_picture("1", encoded(600, 600)[:-500])
    contents = contents_of([good, bad], "model")
    assert list(contents.names) == [good.picture.sha256]
    error = contents.errors[bad.picture.sha256]
    assert isinstance(error, BadPicture)
    with pytest.raises(images.PictureError):
        copy_of(bad.content)
