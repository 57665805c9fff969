"""A category head from pictures and a table to answers of the service, by the commands that a user runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from e2e.conftest import BIN, SAMPLES, Server, Start
from twinset import Client, Item, Picture
from twinset.contract import Metric
from twinset_exporter.measures.neighbours import nearest

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

METHODS = {"published": Metric.EUCLIDEAN, "contrastive": Metric.COSINE}
EACH = 20
KINDS = ("ankle-boot", "bag", "dress", "sandal")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the samples, and their table with the rows of the others gone."""
    folder = tmp_path_factory.mktemp("shop")
    ids = []
    for kind in KINDS:
        (folder / "pictures" / kind).mkdir(parents=True)
        for file in sorted((SAMPLES / kind).glob("*.png"))[:EACH]:
            shutil.copy(file, folder / "pictures" / kind)
            ids.append(f"{kind}/{file.stem}")
    heading, *lines = (SAMPLES / "labels.csv").read_text().splitlines()
    kept = [line for line in lines if line.partition(",")[0] in ids]
    (folder / "labels.csv").write_text("\n".join([heading, *kept]) + "\n")
    return folder


@pytest.fixture(scope="module")
def features(repository: Path, pictures: Path) -> Path:
    output = pictures / "features"
    exporter("embed", pictures / "pictures", "--outputs", "features", "--output", output, "--repository", repository)
    return output


@pytest.fixture(scope="module", params=list(METHODS))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def trained(pictures: Path, features: Path, method: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training."""
    output = tmp_path_factory.mktemp("runs") / method
    data = [pictures / "pictures", "--labels", pictures / "labels.csv", "--label", "category"]
    exporter("train", "category", *data, "--features", features, "--method", method, "--output", output)
    return output


@pytest.fixture(scope="module")
def server(start: Start, repository: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the backbone with the trained head, which export has proved through Triton."""
    models = tmp_path_factory.mktemp("ensembles") / "models"
    shutil.copytree(repository, models)
    exporter("export", "efficientnet_lite0", "--repository", models, "--heads", trained / "heads.toml")
    return start(tmp_path_factory.mktemp("data") / "data", "--fill-category", "category_class", repository=models)


def exporter(*arguments: str | Path) -> None:
    subprocess.run([BIN / "twinset-exporter", *arguments], check=True, timeout=600)


def by_keras(trained: Path, features: Path) -> tuple[list[str], dict[str, NDArray[np.float32]]]:
    """Return ids, and the head's outputs for the features that it was trained on."""
    rows = np.load(features / "features.npy")
    answer = keras.saving.load_model(trained / "category.keras").predict(rows, verbose=0)
    return (features / "ids.txt").read_text().splitlines(), answer


def test_the_service_answers_what_training_computed(
    server: Server, trained: Path, features: Path, pictures: Path, method: str
) -> None:
    ids, expected = by_keras(trained, features)
    contents = [(pictures / "pictures" / f"{item_id}.png").read_bytes() for item_id in ids]
    names = sorted(line.split(",")[1] for line in (pictures / "labels.csv").read_text().splitlines()[1:])
    names = list(dict.fromkeys(names))
    with Client(server.address) as client:
        answers = client.embed(contents, ["category", "category_class"], predictions=1)
        rows = np.stack([answer["category"].values for answer in answers])
        chances = np.stack([answer["category_class"].values for answer in answers])
        np.testing.assert_allclose(rows, expected["category"], atol=1e-3 * np.abs(expected["category"]).max())
        np.testing.assert_allclose(chances, expected["category_class"], atol=1e-3)
        for answer, row in zip(answers, expected["category_class"], strict=True):
            (likeliest,) = answer.predictions["category_class"]
            assert likeliest.class_name == names[row.argmax()]
            assert likeliest.probability == pytest.approx(row.max(), abs=1e-3)

        put = client.put_items(
            Item(item_id, [Picture(content)]) for item_id, content in zip(ids, contents, strict=True)
        )
        assert [result.error for result in put] == [None] * len(ids)
        found = client.recommend(item=ids[0], space="category", k=5)
        assert found.metric is METHODS[method]
        wanted = nearest(expected["category"], None, 5, METHODS[method])[0]
        assert {one.item.id for one in found} == {ids[place] for place in wanted}
        assert client.get_item(ids[0]).category == names[expected["category_class"][0].argmax()]
