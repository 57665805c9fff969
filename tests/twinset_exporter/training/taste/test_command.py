from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fakes.published import Run
from fakes.taste import held_out
from twinset.factors import open_factors
from twinset.vectors.manifest import Manifest, OutputVectors

OPTIONS = ("--delimiter", "|", "--columns", "who,what,stars", "--liked-from", "4", "--dimension", "9", "--epochs", "3")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "likes.csv"
    data = held_out()
    lines = ["who|what|stars"]
    for part in (data.train, data.test):
        pairs = zip(*(places.tolist() for places in part.acts()), strict=True)
        lines += [f"u{user}|i{item}|{5 if item % 7 else 2}" for user, item in pairs]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder = tmp_path / "features"
    folder.mkdir()
    np.save(folder / "features.npy", np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32))
    (folder / "ids.txt").write_text("".join(f"i{item}\n" for item in range(60)))
    manifest = Manifest("m-00000000", "0" * 64, {"features": OutputVectors(12)}, "path", "npy", "1" * 64, 60, 60, True)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_training_leaves_factors_a_head_models_and_a_report(
    run: Run, table: Path, features: Path, tmp_path: Path
) -> None:
    output = tmp_path / "taste"
    code, out, err = run("train", "taste", table, "--output", output, "--features", features, *OPTIONS)
    assert code == 0, err
    assert "taste.auc 0." in out
    factors = open_factors(output / "factors")
    factors.check()
    assert (len(factors.users), len(factors.items), factors.manifest.dimension) == (80, 60, 9)
    assert sorted(factors.items.ids()) == sorted(f"i{item}" for item in range(60))
    for name in ("interaction.keras", "taste.keras", "heads.toml", "report.html"):
        assert (output / name).stat().st_size > 0, name
    # Its space says whose factors they are: no other training's head can stand in for it.
    assert f'space = "taste_{factors.manifest.fingerprint[:8]}"' in (output / "heads.toml").read_text()
    metrics = {row["id"]: row for row in json.loads((output / "metrics.json").read_text())["metrics"]}
    assert {"taste.auc", "taste.popularity.auc", "taste.interaction.auc"} <= metrics.keys()
    again = run("train", "taste", table, "--output", output, "--features", features, *OPTIONS)
    assert again[0] == 0
    assert open_factors(output / "factors").manifest.fingerprint == factors.manifest.fingerprint
    code, _, err = run("train", "taste", table, "--output", output, *OPTIONS, "--seed", "1")
    assert code == 2
    assert "belongs to another run" in err
    table.write_text(table.read_text().replace("|2\n", "|4\n"))
    code, _, err = run("train", "taste", table, "--output", output, "--features", features, *OPTIONS)
    assert code == 2
    assert "belongs to another run: values differ" in err


def test_columns_are_names_or_places(run: Run, table: Path, tmp_path: Path) -> None:
    for columns in ("who,1", "who", "who,,stars"):
        code, _, err = run("train", "taste", table, "--output", tmp_path / "taste", "--columns", columns)
        assert code == 2
        assert f"--columns {columns}" in err


def test_users_with_too_few_acts_leave_nothing_to_validate_on(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "few.csv"
    table.write_text("user,item\n" + "".join(f"u{user},i{item}\n" for user in range(9) for item in range(5)))
    code, _, err = run("train", "taste", table, "--output", tmp_path / "taste")
    assert code == 2
    assert "few.csv: no user has more than 5 acts" in err


def test_an_item_without_a_picture_is_named(run: Run, table: Path, features: Path, tmp_path: Path) -> None:
    ids = (features / "ids.txt").read_text().replace("i59\n", "other\n")
    (features / "ids.txt").write_text(ids)
    code, _, err = run("train", "taste", table, "--output", tmp_path / "taste", "--features", features, *OPTIONS)
    assert code == 2
    assert "'i59'" in err


def test_users_who_know_every_item_judge_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("user,item\n" + "".join(f"u{user},i{item}\n" for user in range(12) for item in range(6)))
    code, _, err = run("train", "taste", path, "--output", tmp_path / "taste")
    assert code == 2
    assert "an item never met: lower --liked-from" in err


def test_a_call_that_was_wrong_leaves_the_folder_to_the_right_one(
    run: Run, table: Path, features: Path, tmp_path: Path
) -> None:
    (features / "ids.txt").write_text("".join(f"other{item}\n" for item in range(60)))
    code, _, err = run("train", "taste", table, "--output", tmp_path / "taste", "--features", features, *OPTIONS)
    assert code == 2
    assert "has no features of 60 of 60 items" in err
    assert not list((tmp_path / "taste").iterdir())
