import re

import pytest

from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.calibration import Bin, Calibration


def test_a_bin_stands_at_what_was_predicted_and_what_came_true() -> None:
    markup = Calibration([Bin(0.0, 1.0, 5), Bin(1.0, 0.0, 5)]).markup(Album())
    (left, top), (right, bottom) = re.findall(r'<circle class="dot series-0" cx="([\d.]+)" cy="([\d.]+)"', markup)
    assert float(left) < float(right)
    assert float(top) < float(bottom)


def test_the_interval_is_wilsons_and_stays_within_the_plot() -> None:
    # Of ten, none: Wilson's 95 % interval is 0 to .2775 (Newcombe 1998).
    markup = Calibration([Bin(0.5, 0.0, 10)]).markup(Album())
    found = re.search(r'<line class="whisker series-0" x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)" y2="([\d.]+)"', markup)
    assert found is not None
    zero, top = (float(y) for y in found.groups())
    floor, ceiling = 420 - 38, 12
    assert (floor - zero) / (floor - ceiling) == pytest.approx(0, abs=1e-3)
    assert (floor - top) / (floor - ceiling) == pytest.approx(0.2775, abs=1e-3)


def test_a_bin_that_holds_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="no share"):
        Bin(1.2, 0.5, 3)
