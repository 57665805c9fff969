"""What the commands show of classes and of predicted categories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.command_line import Outcome, Twinset, picture
from fakes.embedder import FakeClassifier, FakeEmbedder
from fakes.service import FakeService
from twinset.cli.app import run


@pytest.fixture
def twinset(capsys: pytest.CaptureFixture[str]) -> Iterator[Twinset]:
    """Run a command against a server whose model tells classes, and which fills missing categories by them."""
    with FakeService(FakeClassifier(), fill_category="shade") as service:

        def call(*arguments: str | Path) -> Outcome:
            code = run(["--server", service.address, *map(str, arguments)])
            return Outcome(code, *capsys.readouterr())

        yield call


@pytest.fixture
def red(tmp_path: Path) -> Path:
    file = tmp_path / "photos" / "red.png"
    file.parent.mkdir()
    file.write_bytes(picture(250, 0, 0))
    return file


def test_classify_shows_the_likeliest_classes(twinset: Twinset, red: Path) -> None:
    outcome = twinset("classify", red, "-k", "2")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert lines[0] == ["picture", "output", "class", "probability"]
    assert [line[1:3] for line in lines[2:]] == [["shade", "red"], ["shade", "green"]]
    assert float(lines[2][3]) == pytest.approx(1, abs=1e-3)


def test_classify_prints_json(twinset: Twinset, red: Path) -> None:
    answer = json.loads(twinset("classify", red, "--json").out)
    assert answer["image"] == str(red)
    assert [one["class"] for one in answer["classes"]["shade"]] == ["red"]


def test_classify_names_a_picture_that_can_t_be_read(twinset: Twinset, tmp_path: Path) -> None:
    outcome = twinset("classify", tmp_path / "gone.png")
    assert outcome.code == 2
    assert "gone.png: can't be read" in outcome.err


def test_classify_says_where_the_model_tells_no_classes(red: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeService(FakeEmbedder()) as service:
        assert run(["--server", service.address, "classify", str(red)]) == 2
    assert "which tells no classes: serve one with a head that has `classes`" in capsys.readouterr().err


def test_a_predicted_category_is_shown_as_one_and_put_again_unchanged(twinset: Twinset, red: Path) -> None:
    assert "1 put" in twinset("put", red.parent).out
    assert "red (predicted, 1.00)" in twinset("items").out
    item = json.loads(twinset("items", "--json").out)
    assert (item["category"], item["category_probability"]) == ("red", pytest.approx(1, abs=1e-3))
    again = twinset("put", red.parent)
    assert (again.code, "1 unchanged" in again.out) == (0, True)


def test_an_export_has_facts_alone_unless_it_is_told_to_have_guesses(
    twinset: Twinset, red: Path, tmp_path: Path
) -> None:
    twinset("put", red.parent)
    file = tmp_path / "items.jsonl"
    assert twinset("export", "items", "-o", file).code == 0
    facts = json.loads(file.read_text())
    assert (facts["category"], "category_probability" in facts) == ("", False)
    assert twinset("export", "items", "-o", file, "--predicted").code == 0
    told = json.loads(file.read_text())
    assert (told["category"], told["category_probability"]) == ("red", pytest.approx(1, abs=1e-3))


def test_status_tells_what_the_model_does_besides_vectors(twinset: Twinset) -> None:
    out = twinset("status").out
    assert "classes (shade)" in out
    assert "red, green, blue" in out
    assert "categories (pair_source, pair_target)" in out
    assert "offset 1.5, for 50% true pairs, calibration error 0.020" in out
    assert json.loads(twinset("status", "--json").out)["model"]["pair"]["offset"] == 1.5
