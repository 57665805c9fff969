import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twinset_exporter.training.report import atlas, thumbnails
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.map import Map

POINTS = np.array([[-1.0, 0.0], [1.0, 1.0], [0.0, 0.5]])


def data(section: Map) -> Any:
    found = re.search(r'<script type="application/json">(.*)</script>', section.markup(Album()))
    assert found is not None
    return json.loads(found[1])


def test_points_keep_their_proportions() -> None:
    assert data(Map(POINTS, list("abc")))["points"] == [0, 0, 10_000, 5_000, 5_000, 2_500]


def test_points_that_lie_on_each_other_are_drawn() -> None:
    assert data(Map(np.zeros((2, 2)), list("ab")))["points"] == [0, 0, 0, 0]


def test_the_commonest_class_comes_first() -> None:
    (attribute,) = data(Map(POINTS, list("abc"), {"kind": ["boot", "shoe", "shoe"]}))["attributes"]
    assert attribute == {"name": "kind", "classes": ["shoe", "boot"], "codes": [1, 0, 0]}


def test_floats_are_a_scale_and_a_missing_one_stays_missing() -> None:
    (attribute,) = data(Map(POINTS, list("abc"), {"price": np.array([1.5, np.nan, 3.0])}))["attributes"]
    assert attribute == {"name": "price", "scale": [1.5, None, 3.0]}


def test_names_survive_as_they_are() -> None:
    names = ['</script><b>"', "<!--", "\u00e9 & \u2028"]
    assert data(Map(POINTS, names))["names"] == names


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        (POINTS, ["a"], "1 values of names for 3 points"),
        (np.array([[np.nan, 0.0]]), ["a"], "finite"),
        (np.zeros((0, 2)), [], "finite and of shape"),
        (np.zeros((2, 3)), ["a", "b"], "of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(points: Any, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Map(points, names)


def test_every_picture_lies_in_its_own_cell_of_the_atlas(jpegs: list[bytes]) -> None:
    sheet = atlas.lay_out([jpegs[1], None, jpegs[2], jpegs[4]])
    assert sheet is not None
    assert (sheet.columns, sheet.cells) == (2, (0, -1, 1, 2))
    with Image.open(io.BytesIO(sheet.jpeg)) as picture:
        pixels = np.asarray(picture)
    centres = [pixels[cell // 2 * 64 + 32, cell % 2 * 64 + 32, 0] for cell in (0, 1, 2)]
    assert centres == pytest.approx([40, 80, 160], abs=6)


def test_items_without_pictures_have_no_atlas() -> None:
    assert atlas.lay_out([None, None]) is None
    assert "atlas" not in data(Map(POINTS, list("abc"), {}, [None] * 3))


def test_a_thumbnail_is_small_and_keeps_proportions() -> None:
    with Image.open(io.BytesIO(thumbnails.of_pixels(np.zeros((400, 200, 3), np.uint8)))) as picture:
        assert (picture.width, picture.height, picture.format) == (48, 96, "JPEG")
