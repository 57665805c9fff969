"""A tuned backbone and its head from pictures and a table to answers of the service, by the commands a user runs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from e2e.conftest import Server, Start, exporter
from twinset import Client, Item, Picture
from twinset.contract import Metric
from twinset.images import PicturePipeline, decode
from twinset_exporter import parity
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.measures.neighbours import nearest

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

BACKBONE = "efficientnet_lite0"
SIDE = 64
OUTPUTS = ("features", "category", "category_class")

Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def trained(wares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training."""
    output = tmp_path_factory.mktemp("runs") / "tuned"
    data = [wares / "pictures", "--labels", wares / "labels.csv", "--label", "category"]
    exporter("train", "backbone", *data, "--size", str(SIDE), "--epochs", "2", "--output", output)
    return output


@pytest.fixture(scope="module")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What export made of it, which it has proved through Triton."""
    folder = tmp_path_factory.mktemp("tuned") / "models"
    tuned = ["--weights", trained / "backbone.keras", "--size", str(SIDE), "--heads", trained / "heads.toml"]
    exporter("export", BACKBONE, *tuned, "--repository", folder)
    return folder


@pytest.fixture(scope="module")
def server(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start(tmp_path_factory.mktemp("tuned-data") / "data", repository=models)


@pytest.fixture(scope="module")
def contents(wares: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((wares / "pictures").rglob("*.png"))]


@pytest.fixture(scope="module")
def expected(trained: Path, contents: list[bytes]) -> dict[str, Rows]:
    """What the two networks of the training make of the pictures in Keras."""
    pipeline = PicturePipeline(SIDE, SIDE)
    given = BACKBONES[BACKBONE].preprocess(np.stack([decode(content, pipeline) for content in contents]))
    features = keras.saving.load_model(trained / "backbone.keras").predict(given, verbose=0)
    head = keras.saving.load_model(trained / "category.keras").predict(features, verbose=0)
    return {"features": features, **head}


def test_the_service_answers_what_the_tuned_networks_compute(
    server: Server, contents: list[bytes], expected: dict[str, Rows]
) -> None:
    with Client(server.address) as client:
        answers = client.embed(contents, OUTPUTS)
    parity.gate(parity.compare(expected, {one: np.stack([a[one].values for a in answers]) for one in OUTPUTS}))


def test_neighbours_are_those_of_the_tuned_networks(
    server: Server, contents: list[bytes], expected: dict[str, Rows]
) -> None:
    with Client(server.address) as client:
        put = client.put_items(Item(f"{place}", [Picture(content)]) for place, content in enumerate(contents))
        assert [result.error for result in put] == [None] * len(contents)
        found = client.recommend(item="0", space="category", k=5)
    wanted = nearest(expected["category"], None, 5, Metric.COSINE)[0]
    assert {one.item.id for one in found} == {str(place) for place in wanted}
