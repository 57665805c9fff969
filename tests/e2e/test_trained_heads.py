"""Heads with classes, categories and pairs: what the service answers is what Keras does."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from e2e.conftest import BIN, SAMPLES, Server, Start
from fakes.heads import save_head
from twinset import Client, Item, ItemUpdate, PairContract, Picture, Side, Slot

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

FEATURES = 1280
CONTENTS = [file.read_bytes() for file in sorted(SAMPLES.rglob("*.png"))[:1000:100]]
KINDS = ["boot", "sandal", "sneaker"]
TYPES = ["sofa", "floor lamp", "rug"]
SIDES = ["source", "target"]

HEADS = """
name = "trained"

[heads.kind]
file = "kind.keras"
classes = "kinds.txt"

[heads.pair]
file = "pair.keras"
categories = ["sofa", "floor lamp", "rug"]
outputs.source = { space = "pair_source", metric = "euclidean" }
outputs.target = { space = "pair_target", metric = "euclidean" }
pair = { offset = 1.5, scale = 0.5, shift = -0.25, prior = 0.5, ece = 0.02 }
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "heads.toml").write_text(HEADS)
    (folder / "kinds.txt").write_text("".join(f"{kind}\n" for kind in KINDS))
    save_head(folder / "kind.keras", FEATURES, {"out": len(KINDS)}, activation="softmax")
    save_head(folder / "pair.keras", FEATURES, {"source": 5, "target": 5}, categories=len(TYPES))
    return folder


@pytest.fixture(scope="module")
def models(repository: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged backbone, and the ensemble `trained` on it, which Triton has proved."""
    copied = tmp_path_factory.mktemp("ensembles") / "models"
    shutil.copytree(repository, copied)
    options = ["--repository", copied, "--heads", files / "heads.toml"]
    subprocess.run([BIN / "twinset-exporter", "export", "efficientnet_lite0", *options], check=True, timeout=300)
    return copied


@pytest.fixture(scope="module")
def server(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    return start(tmp_path_factory.mktemp("trained-data") / "data", "--fill-category", "kind", repository=models)


@pytest.fixture(scope="module")
def features(server: Server) -> NDArray[np.float32]:
    """Those of `CONTENTS`, as Triton computes them."""
    with Client(server.address) as client:
        return np.stack([one["features"].values for one in client.embed(CONTENTS, ["features"])])


def pair_by_keras(files: Path, features: NDArray[np.float32], categories: Sequence[int]) -> dict[str, np.ndarray]:
    column = np.array(categories, np.int32)[:, np.newaxis]
    answer: dict[str, np.ndarray] = keras.saving.load_model(files / "pair.keras").predict([column, features], verbose=0)
    return answer


def test_classes_and_probabilities_are_those_of_keras(
    server: Server, files: Path, features: NDArray[np.float32]
) -> None:
    expected = keras.saving.load_model(files / "kind.keras").predict(features, verbose=0)
    with Client(server.address) as client:
        found = client.embed(CONTENTS, ["embedding"], predictions=len(KINDS))
    for one, row in zip(found, expected, strict=True):
        told = one.predictions["kind"]
        assert [prediction.class_name for prediction in told] == [KINDS[place] for place in np.argsort(-row)]
        np.testing.assert_allclose([prediction.probability for prediction in told], np.sort(row)[::-1], atol=1e-5)


def test_pairs_of_known_and_unknown_categories_are_those_of_keras(
    server: Server, files: Path, features: NDArray[np.float32]
) -> None:
    names = ["", *TYPES, "vase"]
    categories = [names[place % len(names)] for place in range(len(CONTENTS))]
    expected = pair_by_keras(files, features, [place % len(names) % 4 for place in range(len(CONTENTS))])
    with Client(server.address) as client:
        found = client.embed(CONTENTS, SIDES, categories=categories)
    for side in SIDES:
        rows = np.stack([one[side].values for one in found])
        np.testing.assert_allclose(rows, expected[side], atol=1e-4 * np.abs(expected[side]).max())
    assert [one.category_unknown for one in found] == [category == "vase" for category in categories]


def test_an_item_has_the_vectors_of_its_category_also_after_that_changed(
    server: Server, files: Path, features: NDArray[np.float32]
) -> None:
    def check(client: Client, number: int) -> None:
        expected = pair_by_keras(files, features[:1], [number])
        rows = {vector.space: vector.values for vector in client.get_item("changing").vectors}
        for side in SIDES:
            bound = 1e-4 * np.abs(expected[side]).max()
            np.testing.assert_allclose(rows[f"pair_{side}"], expected[side][0], atol=bound)

    with Client(server.address) as client:
        (put,) = client.put_items([Item("changing", [Picture(CONTENTS[0])], category="floor lamp")])
        assert put.error is None
        check(client, 2)
        (updated,) = client.update_items([ItemUpdate("changing", category="rug")])
        assert updated.error is None
        check(client, 3)
        found = client.recommend(item="changing", space="pair_source", k=1)
        assert found.metric.value == "euclidean"


def test_a_missing_category_is_what_keras_predicts(server: Server, files: Path, features: NDArray[np.float32]) -> None:
    expected = keras.saving.load_model(files / "kind.keras").predict(features, verbose=0)
    with Client(server.address) as client:
        results = client.put_items(Item(f"item {n}", [Picture(content)]) for n, content in enumerate(CONTENTS))
        assert [one.error for one in results] == [None] * len(CONTENTS)
        stored = [client.get_item(f"item {n}") for n in range(len(CONTENTS))]
    assert [item.category for item in stored] == [KINDS[place] for place in expected.argmax(axis=1)]
    np.testing.assert_allclose([item.category_probability for item in stored], expected.max(axis=1), atol=1e-5)


def test_a_folder_is_embedded_as_of_an_unknown_category_and_that_is_said(
    models: Path, files: Path, features: NDArray[np.float32], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(CONTENTS[0])
    model = next(path.name for path in models.glob("trained-*"))
    options = ["--model", model, "--repository", models, "--outputs", "source", "--output", tmp_path / "vectors"]
    command = [BIN / "twinset-exporter", "embed", photos, *options]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert "source: of items of an unknown category, since a folder tells none" in ran.stdout
    expected = pair_by_keras(files, features[:1], [0])["source"]
    rows = np.load(tmp_path / "vectors" / "source.npy")
    np.testing.assert_allclose(rows, expected, atol=1e-4 * np.abs(expected).max())


def test_the_server_tells_how_a_pair_becomes_a_probability(server: Server) -> None:
    with Client(server.address) as client:
        model = client.catalog().model
    assert model is not None
    assert model.pair == PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02)
    assert (model.classes, model.categories) == ({"kind": tuple(KINDS)}, tuple(TYPES))
    assert model.category_spaces == ("pair_source", "pair_target")


def test_a_pair_of_items_or_pictures_has_the_probability_of_what_keras_computes(
    server: Server, files: Path, features: NDArray[np.float32]
) -> None:
    def expected(left: int, right: int) -> tuple[float, float]:
        sides = pair_by_keras(files, features[:2], [left, right])
        distance = float(((sides["source"][0] - sides["target"][1]) ** 2).sum())
        return distance, 1 / (1 + math.exp(-(0.5 * (1.5 - distance) - 0.25)))

    with Client(server.address) as client:
        put = client.put_items(
            [
                Item("left", [Picture(CONTENTS[0])], category="sofa"),
                Item("right", [Picture(CONTENTS[1])], category="floor lamp"),
            ]
        )
        assert [one.error for one in put] == [None, None]
        distance, probability = expected(1, 2)
        for left in ("left", Side(picture=CONTENTS[0], category="sofa")):
            for right in ("right", Side(picture=CONTENTS[1], category="floor lamp")):
                found = client.score_pair(left, right)
                assert found.score.distance == pytest.approx(distance, rel=1e-3)
                assert found.score.probability == pytest.approx(probability, rel=1e-3)
                assert (found.left_category_unknown, found.right_category_unknown) == (False, False)
        many = client.score_pairs(["left"], ["right"])
        assert many.probabilities[0] == pytest.approx(probability, rel=1e-3)
        unknown = client.score_pair(Side(picture=CONTENTS[0]), "right")
        assert unknown.score.distance == pytest.approx(expected(0, 2)[0], rel=1e-3)
        assert (unknown.left_category_unknown, unknown.right_category_unknown) == (True, False)
        completed = client.complete_set(["left"], [Slot(candidates=["right"])])
        assert completed.score == pytest.approx(math.log(probability), rel=1e-3)


def test_predictions_survive_a_server_that_is_killed(start: Start, models: Path, tmp_path: Path) -> None:
    options = ["--fill-category", "kind"]
    first = start(tmp_path / "data", *options, repository=models)
    with Client(first.address) as client:
        assert [one.error for one in client.put_items([Item("a", [Picture(CONTENTS[0])])])] == [None]
        before = client.get_item("a")
    first.kill()
    again = start(tmp_path / "data", *options, repository=models)
    with Client(again.address) as client:
        after = client.get_item("a")
    assert (after.category, after.category_probability) == (before.category, before.category_probability)
    assert after.category_probability is not None


def test_a_setting_that_names_no_classes_stops_the_start(start: Start, models: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no probabilities of classes in an output 'source'.*it has them in kind"):
        start(tmp_path / "data", "--fill-category", "source", repository=models)
