import json
from pathlib import Path

import pytest

from benchmarks import figures, summary
from benchmarks.figures import Figure
from twinset_exporter.training.report import page


def test_a_figure_over_seeds_is_their_mean_with_its_spread() -> None:
    figure = Figure.over_seeds("fashion.p6.best", [0.92, 0.94, 0.96], 0.93, "share", "higher", "5,000 queries", 0.875)
    assert figure.value == pytest.approx(0.94)
    assert figure.spread == pytest.approx(0.02)
    assert figure.protocol == "mean of 3 seeds; 5,000 queries"


def test_one_seed_has_no_spread() -> None:
    assert Figure.over_seeds("a.b", [0.5], None, "share", "higher", "p").spread is None


@pytest.mark.parametrize(
    ("better", "value", "reached"), [("higher", 0.9, True), ("lower", 0.9, False), ("lower", 0.8, True)]
)
def test_a_limit_is_reached_from_its_better_side(better: str, value: float, reached: bool) -> None:
    figure = Figure("a.b", value, None, "share", better, "p")  # type: ignore[arg-type]
    assert figure.reaches(0.85) is reached
    assert figure.reaches(None)


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    rows = [Figure("a.b", 0.5, 0.6, "share", "higher", "p", 0.4, 0.01), Figure("a.c", 2.0, None, "s", "lower", "q")]
    assert figures.read(figures.write("some", rows)) == rows
    assert set(json.loads((tmp_path / "some.json").read_text())[0]) >= {
        "id",
        "value",
        "aim",
        "unit",
        "better",
        "protocol",
    }


def test_the_summary_says_what_misses_its_bound() -> None:
    rows = [
        Figure("a.b", 0.5, 0.6, "share", "higher", "p", bound=0.4),
        Figure("a.c", 2.0, None, "s", "lower", "q", bound=1.0),
    ]
    report = summary.summary({"some": rows})
    assert ("bounds reached", "1 of 2") in report.facts
    assert "\u2264\u00a01 missed" in page.render(report)
