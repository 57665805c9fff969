from __future__ import annotations

import pytest

from benchmarks.demo import _figure


def test_the_aim_is_for_the_network_and_the_weights_in_the_box() -> None:
    name, (figure,) = _figure("efficientnet_lite0", [], "efficientnet_lite0-01234567", 0.75, 1000)
    assert (name, figure.id, figure.aim) == ("demo", "demo.precision_at_10", 0.72)


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "resnet50"])
def test_other_weights_have_no_aim_and_leave_the_figure_of_the_box_alone(backbone: str) -> None:
    options = ["--weights", "mine.weights.h5"]
    name, (figure,) = _figure(backbone, options, f"{backbone}-01234567", 0.5, 1000)
    assert (name, figure.id, figure.aim) == (f"demo-{backbone}", f"demo.precision_at_10.{backbone}", None)
    assert f"{backbone} features ({backbone}-01234567, --weights mine.weights.h5)" in figure.protocol
