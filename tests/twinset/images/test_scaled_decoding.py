"""Scaled decoding against full decoding, in what counts: the features of a network, on real pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from twinset.images import PicturePipeline, decode

DATA = os.environ.get("TWINSET_DATA")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(DATA is None, reason="TWINSET_DATA does not name the data folder"),
    pytest.mark.filterwarnings("ignore"),  # TensorFlow's own
]


@pytest.fixture(scope="module")
def network() -> Any:
    keras = pytest.importorskip("keras")
    return keras.models.load_model(Path(DATA or "", "weights", "efficientnet_lite0_imagenet.keras"), compile=False)


def enlarged(folder: str, longest: int, count: int) -> list[bytes]:
    """Return every so many-th picture of a folder as a JPEG of `longest` pixels."""
    paths = sorted(Path(DATA or "", folder, "images").iterdir())
    contents = []
    for path in paths[:: len(paths) // count][:count]:
        with Image.open(path) as image:
            ratio = longest / max(image.size)
            size = (round(image.width * ratio), round(image.height * ratio))
            buffer = io.BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    return contents


def features(network: Any, contents: Sequence[bytes], pipeline: PicturePipeline) -> NDArray[np.float32]:
    pixels = np.stack([decode(content, pipeline) for content in contents])
    found = np.asarray(network.predict_on_batch((pixels.astype(np.float32) - 127) / 128))
    unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize(
    ("folder", "longest"), [("products", 224), ("products", 700), ("products", 1024), ("ikea", 1024), ("ikea", 2000)]
)
def test_features_agree_to_cosine_999_in_the_median_and_99_at_worst(network: Any, folder: str, longest: int) -> None:
    contents = enlarged(folder, longest, 24)
    scaled = features(network, contents, PicturePipeline(224, 224))
    full = features(network, contents, PicturePipeline(224, 224, scaled_decoding=False))
    cosines = (scaled * full).sum(axis=1)
    assert np.median(cosines) >= 0.999
    assert cosines.min() >= 0.99
