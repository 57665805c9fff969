from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fakes.features import write_features
from twinset.contract import Metric
from twinset_exporter import keras_file
from twinset_exporter.cli import app
from twinset_exporter.errors import ExportError
from twinset_exporter.heads import network, specification

STYLES, KINDS, COUNT = 3, ("lamp", "rug", "sofa"), 90
Train = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with features, rooms of one style each, directed pairs, and categories of most items."""
    rng = np.random.default_rng(0)
    style, kind = np.arange(COUNT) % STYLES, np.arange(COUNT) // STYLES % len(KINDS)
    rows = rng.standard_normal((COUNT, 8)) * 0.4
    rows[np.arange(COUNT), style] += 3
    ids = [f"item{number:02}" for number in range(COUNT)]
    write_features(tmp_path / "vectors", ids, rows)
    with (tmp_path / "items.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "type"))
        table.writerows(
            (name, KINDS[of] if number else "") for number, (name, of) in enumerate(zip(ids, kind, strict=True))
        )
    with (tmp_path / "rooms.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("room_id", "item_id"))
        for room in range(30):
            items = rng.choice(np.flatnonzero(style == room % STYLES), 6, replace=False)
            table.writerows((f"room{room}", ids[item]) for item in items)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        sources, targets = rng.integers(COUNT, size=(2, 3000))
        forward = (style[targets] == (style[sources] + 1) % STYLES) & (sources != targets)
        csv.writer(file).writerows((ids[s], ids[t]) for s, t in zip(sources[forward], targets[forward], strict=True))
    return tmp_path


@pytest.fixture
def train(folder: Path) -> Train:
    """Return what runs the command on the folder, with what it leaves in `run`."""

    def run(*arguments: str) -> str:
        where = [str(folder / "vectors"), "--output", str(folder / "run")]
        result = CliRunner().invoke(app, ["train", "compatibility", *where, "--epochs", "4", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def _rooms(folder: Path) -> list[str]:
    categories = ["--categories", str(folder / "items.csv"), "--category-columns", "id,type"]
    return ["--groups", str(folder / "rooms.csv"), *categories]


def _metrics(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "run/metrics.json").read_text())
    return {row["id"]: row["value"] for row in content["metrics"]}


def test_rooms_leave_a_head_that_takes_categories_and_tells_probabilities(folder, train):
    train(*_rooms(folder), "--prior", "0.2")

    metrics = _metrics(folder)
    assert metrics["compatibility.auc.known"] > 0.9
    assert metrics["compatibility.auc.pictures"] > 0.9
    (head,) = specification.read(folder / "run/heads.toml").heads
    assert head.categories == KINDS
    assert head.outputs["pair_source"].metric is Metric.INNER_PRODUCT
    assert head.pair is not None
    assert head.pair.prior == 0.2
    # What the exporter does with it.
    loaded = network.load(head, features=8)
    assert loaded.categories == KINDS
    assert [(one.name, one.dimension, one.takes_category) for one in loaded.outputs] == [
        ("pair_source", 26, True),
        ("pair_target", 26, True),
    ]
    assert "Best partners" in (folder / "run/report.html").read_text()


def test_pairs_without_categories_learn_their_direction(folder, train):
    train("--pairs", str(folder / "pairs.csv"), "--metric", "euclidean")

    (head,) = specification.read(folder / "run/heads.toml").heads
    model = keras_file.load(head.file)
    rows = np.load(folder / "vectors/features.npy")
    sides = model.predict(rows, verbose=0)
    near = -np.square(sides["pair_source"][:, None] - sides["pair_target"][None]).sum(axis=2)
    style = np.arange(COUNT) % STYLES
    forward = style[None] == (style[:, None] + 1) % STYLES
    assert near[forward].mean() > near.T[forward].mean() + 1
    assert head.categories == ()


def test_the_same_command_again_gives_the_same_figures(folder, train):
    train(*_rooms(folder))
    before = _metrics(folder)

    train(*_rooms(folder))

    assert _metrics(folder) == before


def test_a_folder_of_other_settings_is_refused(folder, train):
    train(*_rooms(folder))

    with pytest.raises(ExportError, match=r"seed.* differ"):
        train(*_rooms(folder), "--seed", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --groups or --pairs"),
        (("--groups", "x.csv", "--pairs", "y.csv"), "either --groups or --pairs"),
        (("--pairs", "y.csv", "--prior", "1"), "between 0 and 1"),
        (("--groups", "x.csv", "--group-columns", "room"), "two columns"),
    ],
)
def test_what_makes_no_sense_is_told(train, arguments, message):
    with pytest.raises(ExportError, match=message):
        train(*arguments)


def test_categories_of_other_items_are_told(folder, train):
    (folder / "items.csv").write_text("id,type\nother,lamp\n")

    with pytest.raises(ExportError, match="names none of the 90 items"):
        train(*_rooms(folder))


def test_an_item_of_two_categories_is_told_with_its_line(folder, train):
    (folder / "items.csv").write_text("id,type\nitem01,lamp\nitem01,rug\n")

    with pytest.raises(ExportError, match=r"items.csv, line 3.*one category"):
        train(*_rooms(folder))


def test_partners_of_directed_pairs_may_be_of_the_same_category(folder, train):
    ids = [f"item{number:02}" for number in range(COUNT)]
    (folder / "items.csv").write_text("id,type\n" + "".join(f"{name},lamp\n" for name in ids))
    train(
        "--pairs", str(folder / "pairs.csv"), "--categories", str(folder / "items.csv"), "--category-columns", "id,type"
    )

    scores = re.findall(r'<span class="score">([\d.]+)</span>', (folder / "run/report.html").read_text())
    assert len(scores) == 12 * 5
    assert max(map(float, scores)) > 0.5
