from __future__ import annotations

from typing import Any

import pytest

from twinset.images import PicturePipeline


def test_json_brings_the_same_settings_back() -> None:
    pipeline = PicturePipeline(224, 192, "pad", "bicubic", antialias=False, scaled_decoding=False)
    assert PicturePipeline.from_json(pipeline.to_json()) == pipeline


def test_equal_settings_have_equal_json() -> None:
    assert PicturePipeline(width=2, height=1).to_json() == PicturePipeline(1, 2).to_json()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"height": 0}, "224 x 0 pixels"),
        ({"resize": "stretch"}, "resize is 'stretch', expected one of squash, pad, crop"),
        ({"interpolation": "area"}, "interpolation is 'area'"),
        ({"interpolation": "lanczos", "antialias": False}, "lanczos needs antialias"),
        ({"version": 2}, "version 2, this twinset knows version 1"),
    ],
)
def test_settings_that_can_not_be_met_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PicturePipeline(**{"height": 224, "width": 224} | settings)
