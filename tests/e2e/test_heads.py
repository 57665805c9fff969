"""Heads on the packaged backbone, from Keras files to a server that fills and searches their spaces."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from e2e.conftest import BIN, SAMPLES, Server, Start
from fakes.heads import save_head
from twinset import Client, Item, Picture
from twinset_exporter.repository import MODEL

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

FEATURES = 1280
PICTURES = sorted(SAMPLES.rglob("*.png"))[:1000:50]

HEADS = """
name = "shop"

[heads.category]
file = "category.keras"
metric = "euclidean"

[heads.kind]
file = "kind.keras"
classes = ["boot", "sandal"]

[heads.pair]
file = "pair.keras"
outputs.source = { space = "pair_source", metric = "inner_product" }
outputs.target = { space = "pair_target", metric = "inner_product" }
"""


def export_heads(folder: Path, repository: Path) -> str:
    """Export the heads in `folder` onto the packaged backbone and return the ensemble's name."""
    options = ["--repository", repository, "--heads", folder / "heads.toml"]
    command = [BIN / "twinset-exporter", "export", "efficientnet_lite0", *options]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert "Already published" in ran.stdout, "the backbone was exported again"
    return next(line.rpartition("/")[2] for line in ran.stdout.splitlines() if "/shop-" in line)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    (folder / "heads.toml").write_text(HEADS)
    save_head(folder / "category.keras", FEATURES, {"out": 8})
    save_head(folder / "kind.keras", FEATURES, {"out": 2}, activation="softmax")
    save_head(folder / "pair.keras", FEATURES, {"source": 16, "target": 16})
    return folder


@pytest.fixture(scope="module")
def models(repository: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged backbone, and the ensemble `shop` on it."""
    copied = tmp_path_factory.mktemp("ensembles") / "models"
    shutil.copytree(repository, copied)
    export_heads(files, copied)
    return copied


@pytest.fixture(scope="module")
def shop(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server of the ensemble with twenty items."""
    running = start(tmp_path_factory.mktemp("shop") / "data", repository=models)
    with Client(running.address) as client:
        put(client)
    return running


def put(client: Client) -> None:
    items = [Item(id=file.stem, pictures=[Picture(content=file.read_bytes())]) for file in PICTURES]
    for result in client.put_items(items):
        assert result.error is None


def test_a_put_fills_every_space(shop: Server) -> None:
    with Client(shop.address) as client:
        spaces = {space.name: space for space in client.catalog().spaces}
    assert {name: (space.dimension, space.vector_count) for name, space in spaces.items()} == {
        "visual": (FEATURES, len(PICTURES)),
        "category": (8, len(PICTURES)),
        "pair_source": (16, len(PICTURES)),
        "pair_target": (16, len(PICTURES)),
    }
    assert len({space.fingerprint for space in spaces.values()}) == 4


@pytest.mark.parametrize("space", ["visual", "category"])
def test_a_picture_finds_its_own_item_first_in_a_head_s_space(shop: Server, space: str) -> None:
    with Client(shop.address) as client:
        for file in PICTURES[:5]:
            found = client.recommend(picture=file.read_bytes(), space=space, k=3)
            assert found[0].item.id == file.stem
            assert len(found) == 3


def test_what_is_searched_is_the_head_s_output(shop: Server) -> None:
    with Client(shop.address) as client:
        contents = [file.read_bytes() for file in PICTURES]
        rows = np.stack([row["category"].values for row in client.embed(contents, outputs=["category"])])
        distances = np.square(rows - rows[0]).sum(axis=1)
        found = client.recommend(picture=contents[0], space="category", k=len(PICTURES))
        assert [one.item.id for one in found] == [PICTURES[n].stem for n in np.argsort(distances)]
        np.testing.assert_allclose([one.distance for one in found], np.sort(distances), rtol=1e-3, atol=1e-2)


def test_outputs_that_fill_no_space_can_be_asked_for(shop: Server) -> None:
    with Client(shop.address) as client:
        (row,) = client.embed([PICTURES[0].read_bytes()], outputs=["kind", "features", "embedding", "source"])
    kind = row["kind"].values
    assert kind.shape == (2,)
    assert kind.sum() == pytest.approx(1, abs=1e-5)
    assert (row["kind"].space, row["source"].space) == ("", "pair_source")
    unit = row["features"].values / np.linalg.norm(row["features"].values)
    np.testing.assert_allclose(row["embedding"].values, unit, atol=1e-5)
    assert row["embedding"].fingerprint == row["features"].fingerprint != row["source"].fingerprint


def test_an_embedding_of_a_head_can_be_sent_back(shop: Server) -> None:
    with Client(shop.address) as client:
        (row,) = client.embed([PICTURES[3].read_bytes()], outputs=["category"])
        found = client.recommend(vector=row["category"], space="category", k=1)
        assert found[0].item.id == PICTURES[3].stem


def test_a_catalogue_of_the_backbone_goes_on_with_the_ensemble(start: Start, models: Path, tmp_path: Path) -> None:
    backbone = next(path.name for path in models.iterdir() if path.name.startswith("efficientnet_lite0-"))
    ensemble = next(path.name for path in models.iterdir() if path.name.startswith("shop-"))
    before = start(tmp_path / "data", "--model", backbone, repository=models)
    with Client(before.address) as client:
        put(client)
    before.kill()
    after = start(tmp_path / "data", "--model", ensemble, repository=models)
    with Client(after.address) as client:
        found = client.recommend(picture=PICTURES[0].read_bytes(), k=1)
        assert found[0].item.id == PICTURES[0].stem
        counts = {space.name: space.vector_count for space in client.catalog().spaces}
        assert (counts["visual"], counts["category"]) == (len(PICTURES), 0)
        put(client)
        assert {space.vector_count for space in client.catalog().spaces} == {len(PICTURES)}
    after.kill()
    # The catalogue knows by now which model fills it.
    again = start(tmp_path / "data", repository=models)
    with Client(again.address) as client:
        assert {space.model for space in client.catalog().spaces} == {ensemble}


def test_a_retrained_head_is_not_mixed_with_what_is_stored(
    shop: Server, start: Start, models: Path, files: Path, tmp_path: Path
) -> None:
    retrained, copied = tmp_path / "heads", tmp_path / "models"
    shutil.copytree(files, retrained)
    shutil.copytree(models, copied)
    save_head(retrained / "category.keras", FEATURES, {"out": 8}, seed=1)
    name = export_heads(retrained, copied)
    data = tmp_path / "data"
    first = start(data, "--model", next(p.name for p in models.glob("shop-*")), repository=models)
    first.kill()
    with pytest.raises(RuntimeError, match="holds space 'category'"):
        start(data, "--model", name, repository=copied)


def test_a_tampered_head_stops_the_start(start: Start, models: Path, tmp_path: Path) -> None:
    copied = tmp_path / "models"
    shutil.copytree(models, copied)
    head = next(copied.glob("category-*"))
    content = bytearray((head / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (head / MODEL).write_bytes(content)
    with pytest.raises(RuntimeError, match=f"{head.name}/1/model.onnx: SHA-256 is"):
        start(tmp_path / "data", repository=copied)
