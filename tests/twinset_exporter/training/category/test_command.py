"""`twinset-exporter train category` and `train backbone` on the small shop."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from twinset.contract import Metric
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.heads import network, specification
from twinset_exporter.training import loop
from twinset_exporter.training.category import selection
from twinset_exporter.training.category.metric_learning import MetricLearning
from twinset_exporter.training.category.published import Published

from .conftest import SIDE, Shop

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"epochs": 6, "batch": 8, "hidden": 16, "dropout": 0.1}
    recipes = (
        Published(middle=8, learning_rate=1e-2, **quick),
        MetricLearning("contrastive", dimension=4, learning_rate=1e-2, **quick),
    )
    monkeypatch.setattr(selection, "RECIPES", recipes)


def arguments(shop: Shop, output: Path) -> list[str]:
    options = ["--labels", str(shop.table), "--label", "stripes", "--output", str(output), "--neighbours", "3"]
    return [str(shop.pictures), *options]


def test_a_training_leaves_a_head_that_export_takes(run: Run, shop: Shop, tmp_path: Path) -> None:
    output = tmp_path / "run"
    code, out, err = run("train", "category", *arguments(shop, output), "--features", shop.features)
    assert (code, err) == (0, "")
    assert "features as they are" in out
    assert f"export BACKBONE --heads {output}/heads.toml" in out

    wanted = specification.read(output / "heads.toml")
    (head,) = wanted.heads
    loaded = network.load(head, 6)
    uses = {one.name: (one.use.space, one.use.classes) for one in loaded.outputs}
    assert uses == {"category": ("category", ()), "category_class": (None, ("level", "upright"))}

    metrics = json.loads((output / "metrics.json").read_text())
    values = {figure["id"]: figure["value"] for figure in metrics["metrics"]}
    assert values["category.accuracy"] > 0.9, out
    assert len(metrics["splits"]["validation"]) == 64
    told = json.loads((output / "run.json").read_text())
    assert (told["kind"], told["features"], told["seed"]) == ("category", "01234567" * 8, 0)
    page = (output / "report.html").read_text()
    for title in ("Compared", "Curves: published", "Map", "Neighbours", "Confusion", "Calibration"):
        assert f">{title}<" in page


@pytest.mark.slow
def test_the_better_by_validation_is_taken(run: Run, shop: Shop, tmp_path: Path) -> None:
    code, out, _ = run("train", "category", *arguments(shop, tmp_path / "run"), "--features", shop.features)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if "accuracy" in line}
    precisions = {name: float(line.split("precision@3 ")[1].split()[0]) for name, line in lines.items()}
    (taken,) = [name for name, line in lines.items() if line.endswith("taken")]
    assert precisions[taken] == max(precisions.values())
    (head,) = specification.read(tmp_path / "run" / "heads.toml").heads
    metric = Metric.COSINE if taken == "contrastive" else Metric.EUCLIDEAN
    assert head.outputs["category"].metric is metric


@pytest.mark.slow
def test_ctrl_c_tells_how_to_go_on_and_the_next_run_does(
    run: Run, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ["train", "category", *arguments(shop, tmp_path / "whole"), "--features", shop.features]
    assert run(*whole)[0] == 0

    fit, trained = loop._write, []

    def stop_once(*arguments: object) -> None:
        fit(*arguments)  # type: ignore[arg-type]
        trained.append(1)
        if len(trained) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_write", stop_once)
    command = ["train", "category", *arguments(shop, tmp_path / "run"), "--features", shop.features]
    code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert err == "twinset-exporter: stopped: run the same command again to go on\n"
    assert run(*command)[0] == 0
    assert len(trained) == 12, "epochs that were done were trained again"
    before, after = (
        keras.saving.load_model(tmp_path / name / "category.keras").get_weights() for name in ("whole", "run")
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_another_training_in_the_same_folder_is_refused(run: Run, shop: Shop, tmp_path: Path) -> None:
    command = ["train", "category", *arguments(shop, tmp_path / "run"), "--features", shop.features]
    assert run(*command, "--method", "published")[0] == 0
    code, _, err = run(*command, "--method", "published", "--seed", "1")
    assert code == 2
    assert "belongs to another run: split and seed differ; choose another --output" in err


def test_items_without_features_are_named(run: Run, shop: Shop, tmp_path: Path) -> None:
    ids = shop.features / "ids.txt"
    ids.write_text(ids.read_text().replace("item-004", "photo-004"))
    code, _, err = run("train", "category", *arguments(shop, tmp_path / "run"), "--features", shop.features)
    assert code == 2
    assert "no features of 1 of 60 items, the first being 'item-004'" in err


def striped_network(height: int, width: int) -> keras.Model:
    pictures = keras.Input((height, width, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="below")(pictures)
    x = keras.layers.ReLU(name="cut")(x)
    skipped = keras.layers.Conv2D(4, 3, padding="same", name="above")(x)
    x = keras.layers.Add(name="sum")([x, skipped])
    return keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(x), name="tiny")


@pytest.fixture
def tiny_weights(tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(BACKBONES, "tiny", dataclasses.replace(tiny, network=striped_network))
    keras.utils.set_random_seed(0)
    striped_network(SIDE, SIDE).save(tmp_path / "tiny.keras")
    return tmp_path / "tiny.keras"


def backbone_options(weights: Path, after: str) -> list[str | Path | int]:
    return ["--backbone", "tiny", "--weights", weights, "--size", SIDE, "--after", after, "--epochs", 2]


@pytest.mark.slow
def test_a_tuned_backbone_comes_with_its_head(run: Run, shop: Shop, tmp_path: Path, tiny_weights: Path) -> None:
    output = tmp_path / "run"
    code, out, err = run("train", "backbone", *arguments(shop, output), *backbone_options(tiny_weights, "cut"))
    assert (code, err) == (0, "")
    assert f"export tiny --weights {output}/backbone.keras --size {SIDE} --heads {output}/heads.toml" in out
    before, after = (keras.saving.load_model(file) for file in (tiny_weights, output / "backbone.keras"))
    same = {
        name: np.array_equal(before.get_layer(name).kernel, after.get_layer(name).kernel) for name in ("below", "above")
    }
    assert same == {"below": True, "above": False}
    (head,) = specification.read(output / "heads.toml").heads
    assert network.load(head, 4).outputs[0].use.space == "category"


@pytest.mark.parametrize(
    ("layer", "told"), [("block9", "--after block9: tiny has no such layer"), ("above", "tiny can't be cut there")]
)
def test_a_layer_that_is_no_cut_is_refused(
    run: Run, shop: Shop, tmp_path: Path, tiny_weights: Path, layer: str, told: str
) -> None:
    code, _, err = run("train", "backbone", *arguments(shop, tmp_path / "run"), *backbone_options(tiny_weights, layer))
    assert code == 2
    assert told in err


def test_more_neighbours_than_items_to_validate_on_are_refused(run: Run, shop: Shop, tmp_path: Path) -> None:
    options = [*arguments(shop, tmp_path / "run"), "--features", shop.features, "--neighbours", "1000"]
    code, _, err = run("train", "category", *options)
    assert code == 2
    assert "--neighbours 1000: an item of the validation part has" in err
