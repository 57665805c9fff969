from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from twinset_exporter.errors import UsageError
from twinset_exporter.training.figure import Figure
from twinset_exporter.training.report.report import Report
from twinset_exporter.training.run_folder import RunFolder

RUN = {"settings": {"epochs": 3, "dimension": 64}, "features": "0123", "classes": ("boot", "sandal")}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with closing(RunFolder(tmp_path / "run")) as opened:
        yield opened


def test_the_same_run_goes_on_and_another_is_refused_by_name(folder: RunFolder) -> None:
    folder.begin("category", RUN)
    folder.begin("category", RUN)
    (folder.path / "checkpoint.npz").write_bytes(b"an epoch")
    with pytest.raises(UsageError, match=r"settings\.dimension and features differ; choose another --output"):
        folder.begin("category", {**RUN, "settings": {"epochs": 3, "dimension": 32}, "features": "4567"})
    with pytest.raises(UsageError, match="kind differ"):
        folder.begin("taste", RUN)


def test_a_run_that_left_nothing_makes_way_for_another(folder: RunFolder) -> None:
    folder.begin("category", RUN)
    (folder.path / "published").mkdir()
    folder.begin("category", {**RUN, "features": "4567"})
    assert json.loads((folder.path / "run.json").read_text())["features"] == "4567"


def test_a_folder_of_other_things_is_left_alone(folder: RunFolder) -> None:
    (folder.path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds files that are no training"):
        folder.begin("category", RUN)
    assert [path.name for path in folder.path.iterdir()] == ["thesis.txt"]


def test_two_runs_never_write_to_one_folder(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match="another run writes to"):
        RunFolder(folder.path)


def test_metrics_carry_their_protocol_and_the_splits(folder: RunFolder) -> None:
    figure = Figure("p6", 0.9, "higher", "six neighbours by class")
    folder.write_report(Report("Category head", figures=[figure], splits={"validation": "ab12"}))
    assert json.loads((folder.path / "metrics.json").read_text()) == {
        "metrics": [{"id": "p6", "value": 0.9, "better": "higher", "protocol": "six neighbours by class"}],
        "splits": {"validation": "ab12"},
    }
    assert "Category head" in (folder.path / "report.html").read_text()


@pytest.mark.parametrize(("value", "protocol"), [(float("nan"), "six neighbours by class"), (0.9, " ")])
def test_a_figure_without_a_value_or_a_protocol_is_never_made(value: float, protocol: str) -> None:
    with pytest.raises(ValueError, match="figure p6"):
        Figure("p6", value, "higher", protocol)
