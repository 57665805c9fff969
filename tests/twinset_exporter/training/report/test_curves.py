import math

import pytest

from twinset_exporter.training.report import axes
from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.axes import Axes
from twinset_exporter.training.report.curves import Chart, Curves


def test_a_quantity_of_training_and_validation_is_one_chart_with_two_lines() -> None:
    curves = Curves.of_epochs([{"loss": 2.0}, {"loss": 1.0}], [{"loss": 2.5, "auc": 0.7}, {"loss": 1.5, "auc": 0.8}])
    assert [(chart.title, dict(chart.lines)) for chart in curves.charts] == [
        ("loss", {"training": [2.0, 1.0], "validation": [2.5, 1.5]}),
        ("auc", {"validation": [0.7, 0.8]}),
    ]


def test_an_epoch_without_a_value_is_a_gap_in_the_line() -> None:
    drawn = Axes((1, 3), (0, 1))
    assert drawn.path([(1, 0.0), (2, math.nan), (3, 1.0)]).count("M") == 2
    assert drawn.path([(1, 0.0), (2, 0.5), (3, 1.0)]).count("M") == 1


def test_values_of_the_kept_epoch_are_told() -> None:
    chart = Chart("accuracy", {"validation": [0.25, 0.75, 0.5]})
    assert "<b>0.7500</b>" in Curves([chart], kept_epoch=2).markup(Album())
    assert "<b>0.5000</b>" in Curves([chart]).markup(Album())


def test_every_value_stands_in_a_table_too() -> None:
    markup = Curves([Chart("loss", {"training": [0.123456, 7.0]})]).markup(Album())
    assert "0.1235</td>" in markup
    assert "7.0000</td>" in markup


def test_a_line_that_never_changes_is_drawn() -> None:
    assert "nan" not in Curves([Chart("loss", {"training": [1.0, 1.0]})]).markup(Album())
    assert "nan" not in Curves([Chart("loss", {"training": [0.0]})]).markup(Album())


def test_a_chart_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="chart loss: no line has a value"):
        Curves([Chart("loss", {"training": []})])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.37, 0.91, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        (-30, 95, [-25, 0, 25, 50, 75]),
    ],
)
def test_ticks_are_round_and_within_the_range(low: float, high: float, expected: list[float]) -> None:
    assert axes.ticks(low, high) == pytest.approx(expected)


def test_epochs_have_whole_ticks() -> None:
    assert axes.ticks(1, 3, whole=True) == [1, 2, 3]
