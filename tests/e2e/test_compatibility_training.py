"""A compatibility head from outfits or pairs to answers of the service, by the commands that a user runs."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from e2e.conftest import KINDS, OF_A_KIND, Server, Start, exporter
from twinset import Client, Item, Picture, Vector
from twinset.contract import Metric
from twinset_exporter import parity
from twinset_exporter.heads import specification
from twinset_exporter.heads.specification import Head

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

SIDES = ("pair_source", "pair_target")
OUTFITS = (("ankle-boot", "dress"), ("sandal", "bag"))
"""Kinds that are worn together; of the pairs the first is bought before the second."""

Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def ids(wares_features: Path) -> list[str]:
    return (wares_features / "ids.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def tables(ids: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with outfits of two items, directed pairs, and the categories of most items."""
    folder = tmp_path_factory.mktemp("tables")
    of_kind = {kind: [item_id for item_id in ids if item_id.startswith(kind)] for kind in KINDS}
    outfits, pairs = [("room_id", "item_id")], []
    for first, second in OUTFITS:
        for place, step in itertools.product(range(OF_A_KIND), (0, 7)):
            one, other = of_kind[first][place], of_kind[second][(place + step) % OF_A_KIND]
            outfits += [(f"{first} {place} {step}", one), (f"{first} {place} {step}", other)]
            pairs.append((one, other))
    write(folder / "outfits.csv", outfits)
    write(folder / "pairs.csv", pairs)
    known = [(item_id, kind) for kind in KINDS for item_id in of_kind[kind][:-2]]
    write(folder / "items.csv", [("id", "category"), *known])
    return folder


def write(file: Path, rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)


@pytest.fixture(scope="module", params=["inner_product", "euclidean"])
def trained(
    wares_features: Path, tables: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a training: of outfits with categories by inner product, of pairs without by distance."""
    data = {
        "inner_product": ["--groups", tables / "outfits.csv", "--categories", tables / "items.csv"],
        "euclidean": ["--pairs", tables / "pairs.csv"],
    }[request.param]
    output = tmp_path_factory.mktemp("runs") / request.param
    options = ["--metric", request.param, "--output", output]
    exporter("train", "compatibility", wares_features, *data, *options)
    return output


@pytest.fixture(scope="module")
def head(trained: Path) -> Head:
    (head,) = specification.read(trained / "heads.toml").heads
    return head


@pytest.fixture(scope="module")
def server(start: Start, repository: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the backbone with the trained head, which export has proved through Triton."""
    models = tmp_path_factory.mktemp("ensembles") / "models"
    shutil.copytree(repository, models)
    exporter("export", "efficientnet_lite0", "--repository", models, "--heads", trained / "heads.toml")
    return start(tmp_path_factory.mktemp("data") / "data", repository=models)


@pytest.fixture(scope="module")
def contents(wares: Path, ids: list[str]) -> list[bytes]:
    return [(wares / "pictures" / f"{item_id}.png").read_bytes() for item_id in ids]


@pytest.fixture(scope="module")
def categories(ids: list[str], tables: Path) -> list[str]:
    """Of each item, empty where training knew none."""
    with (tables / "items.csv").open(newline="") as file:
        known = {row["id"]: row["category"] for row in csv.DictReader(file)}
    return [known.get(item_id, "") for item_id in ids]


@pytest.fixture(scope="module")
def expected(head: Head, wares_features: Path, categories: list[str]) -> dict[str, Rows]:
    """Both sides in Keras, for the features and categories that they were trained on."""
    given = np.load(wares_features / "features.npy")
    if head.categories:
        numbers = [head.categories.index(name) + 1 if name else 0 for name in categories]
        given = [given, np.array(numbers, np.int32)[:, np.newaxis]]
    answer: dict[str, Rows] = keras.saving.load_model(head.file).predict(given, verbose=0)
    return answer


def of_space(vectors: Sequence[Vector], space: str) -> Rows:
    return next(vector.values for vector in vectors if vector.space == space)


def test_both_sides_of_a_picture_are_what_training_computed(
    server: Server, head: Head, contents: list[bytes], categories: list[str], expected: dict[str, Rows]
) -> None:
    with Client(server.address) as client:
        answers = client.embed(contents, SIDES, categories=categories if head.categories else ())
    parity.gate(parity.compare(expected, {side: np.stack([one[side].values for one in answers]) for side in SIDES}))


def test_both_sides_of_a_stored_item_are_what_training_computed(
    server: Server, ids: list[str], contents: list[bytes], categories: list[str], expected: dict[str, Rows]
) -> None:
    with Client(server.address) as client:
        given = zip(ids, contents, categories, strict=True)
        put = client.put_items(Item(one, [Picture(content)], category=category) for one, content, category in given)
        assert [result.error for result in put] == [None] * len(ids)
        items = [client.get_item(item_id) for item_id in ids]
    stored = {side: np.stack([of_space(item.vectors, side) for item in items]) for side in SIDES}
    parity.gate(parity.compare(expected, stored))


def test_the_service_tells_the_calibration_of_the_training(server: Server, head: Head) -> None:
    with Client(server.address) as client:
        model = client.catalog().model
    assert model is not None
    assert model.pair == head.pair
    assert model.pair is not None


def test_what_goes_together_is_likelier_in_the_direction_of_training(
    head: Head, ids: list[str], expected: dict[str, Rows]
) -> None:
    """So that answers were compared which mean something."""
    kinds = np.array([item_id.partition("/")[0] for item_id in ids])
    source, target = (expected[side].astype(np.float64) for side in SIDES)
    near = source @ target.T
    if head.outputs[SIDES[0]].metric is Metric.EUCLIDEAN:
        near = -np.square(source[:, np.newaxis] - target).sum(axis=2)
    together = np.any([np.outer(kinds == first, kinds == second) for first, second in OUTFITS], axis=0)
    assert near[together].mean() > near[~together].mean()
