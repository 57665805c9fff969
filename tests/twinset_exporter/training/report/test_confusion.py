import numpy as np
import pytest

from twinset_exporter.training.report.album import Album
from twinset_exporter.training.report.confusion import Confusion


def test_few_classes_are_a_table_with_their_counts() -> None:
    markup = Confusion(["boot", "shoe"], np.array([[3, 1], [0, 4]])).markup(Album())
    assert '<td class="right strong" style="--share:0.750">3</td>' in markup
    assert '<td class="wrong" style="--share:0.250">1</td>' in markup


def test_many_classes_are_a_picture_whose_cells_tell_their_names() -> None:
    counts = np.eye(40, dtype=np.int64)
    counts[2, 5] = 7
    markup = Confusion([f"class {number}" for number in range(40)], counts).markup(Album())
    assert markup.count('<rect class="cell') == 41
    assert "<title>class 2 taken for class 5: 7</title>" in markup


def test_commonest_mistakes_come_first() -> None:
    markup = Confusion(list("abc"), np.array([[9, 2, 0], [5, 9, 0], [0, 0, 1]])).markup(Album())
    first, second = markup.index('<th scope="row">b</th><td>a</td>'), markup.index('<th scope="row">a</th><td>b</td>')
    assert first < second
    assert '<th scope="row">c</th><td>' not in markup.split("Commonest mistakes")[1]


def test_a_class_that_never_occurs_divides_by_nothing() -> None:
    assert "No mistakes." in Confusion(["a", "b"], np.array([[2, 0], [0, 0]])).markup(Album())


def test_counts_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"counts of shape \(2, 2\) for 3 classes"):
        Confusion(list("abc"), np.zeros((2, 2), np.int64))
