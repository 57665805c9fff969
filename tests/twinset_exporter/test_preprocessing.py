from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from keras.applications import imagenet_utils

from twinset.images import PicturePipeline
from twinset_exporter.errors import UsageError
from twinset_exporter.graph import to_onnx
from twinset_exporter.preprocessing import NAMED, Preprocessing, parse
from twinset_exporter.runtime import Runtime

# Each channel takes each of the 256 values, none in step with another's.
EVERY_VALUE = np.stack([np.arange(256), np.arange(256)[::-1], np.roll(np.arange(256), 99)], axis=-1)
EVERY_VALUE = EVERY_VALUE.reshape(1, 16, 16, 3).astype(np.uint8)


def in_graph(preprocessing: Preprocessing) -> np.ndarray:
    pixels = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten()])
    answer = Runtime(to_onnx(pixels, preprocessing, PicturePipeline(16, 16))).run(EVERY_VALUE)
    return answer["features"].reshape(EVERY_VALUE.shape)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_a_named_mode_is_keras_s_preprocess_input_to_the_bit(mode: str) -> None:
    expected = imagenet_utils.preprocess_input(EVERY_VALUE.astype(np.float32), mode=mode)
    np.testing.assert_array_equal(in_graph(parse(mode)), expected)


def test_none_leaves_the_pixels_as_they_are() -> None:
    np.testing.assert_array_equal(in_graph(parse("none")), EVERY_VALUE)


@pytest.mark.parametrize(
    ("text", "mean", "deviation"),
    [
        ("mean=127.5,std=127.5", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("mean=0,std=255", (0, 0, 0), (255, 255, 255)),
        ("mean=123.7, 116.3, 103.5, std=58.4, 57.1, 57.4", (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
        ("mean=1e2,std=3,5,7", (100, 100, 100), (3, 5, 7)),
    ],
)
def test_mean_and_std_are_numpy_s_to_the_bit(text: str, mean: object, deviation: object) -> None:
    expected = (EVERY_VALUE.astype(np.float32) - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    np.testing.assert_array_equal(in_graph(parse(text)), expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("imagenet", "choose caffe, tf, torch, none, or give numbers"),
        ("mean=1", "or give numbers"),
        ("mean=1,2,std=3", "one number, or three"),
        ("mean=x,std=3", "one number, or three"),
        ("mean=1,std=0", "above 0"),
        ("mean=1,std=-2", "above 0"),
        ("mean=1..2,std=3", "one number, or three"),
        ("mean=0.485,0.456,0.406,std=0.229,0.224,0.225", "multiply all of them by 255"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse(text)


def test_each_way_has_its_own_place_in_the_fingerprint() -> None:
    texts = [*NAMED, "mean=127.5,std=127.5", "mean=127.5,std=127.5,127.5,128"]
    assert len({parse(text).to_json() for text in texts}) == len(texts)
