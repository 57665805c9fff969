"""A category head from pictures and a table to answers of the service, by the commands that a user runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from e2e.conftest import Server, Start, exporter
from twinset import Client, Item, Picture
from twinset.contract import Metric
from twinset_exporter import parity
from twinset_exporter.heads import specification
from twinset_exporter.measures.neighbours import nearest

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

METHODS = {"published": Metric.EUCLIDEAN, "contrastive": Metric.COSINE}
OUTPUTS = ("category", "category_class")

Rows = NDArray[np.float32]


@pytest.fixture(scope="module", params=list(METHODS))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trained(wares: Path, wares_features: Path, method: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training."""
    output = tmp_path_factory.mktemp("runs") / method
    data = [wares / "pictures", "--labels", wares / "labels.csv", "--label", "category"]
    exporter("train", "category", *data, "--features", wares_features, "--method", method, "--output", output)
    return output


@pytest.fixture(scope="module")
def server(start: Start, repository: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the backbone with the trained head, which export has proved through Triton."""
    models = tmp_path_factory.mktemp("ensembles") / "models"
    shutil.copytree(repository, models)
    exporter("export", "efficientnet_lite0", "--repository", models, "--heads", trained / "heads.toml")
    return start(tmp_path_factory.mktemp("data") / "data", "--fill-category", "category_class", repository=models)


@pytest.fixture(scope="module")
def ids(wares_features: Path) -> list[str]:
    return (wares_features / "ids.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def contents(wares: Path, ids: list[str]) -> list[bytes]:
    return [(wares / "pictures" / f"{item_id}.png").read_bytes() for item_id in ids]


@pytest.fixture(scope="module")
def expected(trained: Path, wares_features: Path) -> dict[str, Rows]:
    """The head's outputs in Keras, for the features that it was trained on."""
    features = np.load(wares_features / "features.npy")
    answer: dict[str, Rows] = keras.saving.load_model(trained / "category.keras").predict(features, verbose=0)
    return answer


@pytest.fixture(scope="module")
def names(trained: Path) -> tuple[str, ...]:
    """The classes in the order of training."""
    (head,) = specification.read(trained / "heads.toml").heads
    return head.outputs["category_class"].classes


def test_the_service_answers_what_training_computed(
    server: Server, contents: list[bytes], expected: dict[str, Rows], names: tuple[str, ...]
) -> None:
    with Client(server.address) as client:
        answers = client.embed(contents, OUTPUTS, predictions=len(names))
    parity.gate(parity.compare(expected, {one: np.stack([a[one].values for a in answers]) for one in OUTPUTS}))
    for answer, row in zip(answers, expected["category_class"], strict=True):
        told = answer.predictions["category_class"]
        assert told[0].class_name == names[row.argmax()]
        chances = {prediction.class_name: prediction.probability for prediction in told}
        np.testing.assert_allclose([chances[name] for name in names], row, atol=parity.LARGEST_SHARE)


def test_what_is_stored_and_searched_is_what_training_computed(
    server: Server,
    ids: list[str],
    contents: list[bytes],
    expected: dict[str, Rows],
    names: tuple[str, ...],
    method: str,
) -> None:
    with Client(server.address) as client:
        put = client.put_items(
            Item(item_id, [Picture(content)]) for item_id, content in zip(ids, contents, strict=True)
        )
        assert [result.error for result in put] == [None] * len(ids)
        items = [client.get_item(item_id) for item_id in ids]
        found = client.recommend(item=ids[0], space="category", k=5)
    stored = [next(vector.values for vector in item.vectors if vector.space == "category") for item in items]
    parity.gate(parity.compare({"category": expected["category"]}, {"category": np.stack(stored)}))
    chances = expected["category_class"]
    assert [item.category for item in items] == [names[place] for place in chances.argmax(axis=1)]
    np.testing.assert_allclose(
        [item.category_probability for item in items], chances.max(axis=1), atol=parity.LARGEST_SHARE
    )
    assert found.metric is METHODS[method]
    wanted = nearest(expected["category"], None, 5, METHODS[method])[0]
    assert {one.item.id for one in found} == {ids[place] for place in wanted}
