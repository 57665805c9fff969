from dataclasses import replace

import numpy as np
import pytest

from twinset_server.catalog.index.lanes import Lane
from twinset_server.catalog.index.plan import Limits, Merge, Shape, merge, merges_first

LIMITS = Limits(fold_at=4000, bulk_at=40_000, graph_at=1000)


def shape(number: int, rows: int, *, dead: int = 0, graph: bool = True, flat: bool = False) -> Shape:
    return Shape(number, rows, dead, graph, flat)


def test_a_few_rows_need_no_graph() -> None:
    assert merge([shape(1, 500, graph=False)], (), LIMITS) is None


def test_a_segment_gets_its_graph_as_soon_as_it_is_large_enough() -> None:
    assert merge([shape(1, 999, graph=False)], (), LIMITS) is None
    assert merge([shape(1, 1000, graph=False)], (), LIMITS) == Merge((1,), extend=False)


def test_segments_are_merged_when_the_younger_is_a_quarter_of_the_older() -> None:
    assert merge([shape(1, 80_000), shape(2, 19_999)], (), LIMITS) is None
    assert merge([shape(1, 80_000), shape(2, 20_000)], (), LIMITS) == Merge((1, 2), extend=True)


def test_rows_that_are_due_for_a_graph_go_into_one_of_up_to_eight_times_as_many() -> None:
    def due(older: int, younger: int, *, graph: bool = False) -> Merge | None:
        return merge([shape(1, older), shape(2, younger, graph=graph)], (), LIMITS)

    assert due(8000, 1000) == Merge((1, 2), extend=True)
    assert due(8001, 1000) == Merge((2,), extend=False)
    assert due(8000, 999) is None
    assert due(15_992, 1999) == Merge((1, 2), extend=True)
    assert due(15_992, 2000) == Merge((2,), extend=False), "so many would be compared for long"
    assert due(8000, 1000, graph=True) is None


def test_one_merge_takes_all_that_follow_from_it() -> None:
    shapes = [shape(1, 500_000), shape(2, 110_000), shape(3, 28_000)]
    assert merge(shapes, (), LIMITS) == Merge((1, 2, 3), extend=True)


def test_only_living_rows_count_for_a_merge() -> None:
    assert merge([shape(1, 80_000), shape(2, 21_000, dead=1_100)], (), LIMITS) is None


def test_a_merge_waits_for_segments_that_are_at_work() -> None:
    shapes = [shape(1, 500_000), shape(2, 110_000), shape(3, 28_000)]
    assert merge(shapes, {3}, LIMITS) is None
    assert merge(shapes, {1}, LIMITS) is None
    assert merge([*shapes, shape(4, 8000)], {1, 2}, LIMITS) is None


def test_older_segments_are_merged_while_the_youngest_is_at_work() -> None:
    assert merge([shape(1, 80_000), shape(2, 20_000), shape(3, 1000)], {3}, LIMITS) == Merge((1, 2), extend=True)


def test_a_segment_is_built_anew_when_more_than_a_fifth_of_it_is_dead() -> None:
    assert merge([shape(1, 1000, dead=200)], (), LIMITS) is None
    assert merge([shape(1, 1000, dead=201)], (), LIMITS) == Merge((1,), extend=False)
    assert merge([shape(1, 1000, dead=201)], {1}, LIMITS) is None


def test_where_a_graph_was_tried_in_vain_it_is_tried_again_with_half_as_many_more() -> None:
    flat = shape(1, 10_000, graph=False, flat=True)
    assert merge([flat], (), LIMITS) is None
    assert merge([flat, shape(2, 4000)], (), LIMITS) is None
    assert merge([flat, shape(2, 5000)], (), LIMITS) == Merge((1, 2), extend=False)


@pytest.mark.parametrize("bulk", [0, 500_000])
def test_a_million_rows_make_few_segments_and_are_written_a_few_times_each(bulk: int) -> None:
    rng = np.random.default_rng(1)
    limits = replace(LIMITS, graph_at=16_000)
    shapes = [shape(1, bulk)] if bulk else []
    number, added, written, inserted, most = 1, 0, 0, 0, 0
    while added < 1_000_000:
        rows = int(rng.integers(4000, 9000))
        number += 1
        added += rows
        shapes.append(shape(number, rows, graph=False))
        while (due := merge(shapes, (), limits)) is not None:
            number += 1
            run = [one for one in shapes if one.number in due.numbers]
            rows = sum(one.rows for one in run)
            written += rows
            graph = due.extend or rows >= limits.graph_at
            inserted += (rows - run[0].rows if due.extend else rows) if graph else 0
            shapes = [*(one for one in shapes if one not in run), shape(number, rows, graph=graph)]
            shapes.sort(key=lambda one: -one.rows)
        most = max(most, len(shapes))
    assert most <= 5
    assert inserted / added <= 4
    assert written / added <= 12


def test_work_that_failed_waits_until_there_is_twice_as_much() -> None:
    large = replace(shape(1, 10_000), in_vain=2000)
    assert merge([large, shape(2, 3900)], (), LIMITS) is None
    assert merge([large, shape(2, 4000)], (), LIMITS) == Merge((1, 2), extend=True)
    assert merge([replace(large, dead=3900)], (), LIMITS) is None
    assert merge([replace(large, dead=4000)], (), LIMITS) == Merge((1,), extend=False)


def test_small_segments_are_merged_while_large_ones_are_at_work() -> None:
    shapes = [shape(1, 500_000), shape(2, 130_000), shape(3, 16_000, graph=False), shape(4, 4000, graph=False)]
    assert merge(shapes, {1, 2}, LIMITS, Lane.BRIEF) == Merge((3, 4), extend=False)
    assert merge(shapes, {1, 2}, LIMITS, Lane.LONG) is None


def test_what_a_large_segment_takes_part_in_is_the_work_of_the_long_lane() -> None:
    shapes = [shape(1, 64_001), shape(2, 16_001)]
    assert merge(shapes, (), LIMITS, Lane.BRIEF) is None
    assert merge(shapes, (), LIMITS, Lane.LONG) == merge(shapes, (), LIMITS) == Merge((1, 2), extend=True)


def test_what_only_small_segments_take_part_in_is_the_work_of_the_brief_lane() -> None:
    shapes = [shape(1, 64_000), shape(2, 16_000)]
    assert merge(shapes, (), LIMITS, Lane.LONG) is None
    assert merge(shapes, (), LIMITS, Lane.BRIEF) == merge(shapes, (), LIMITS) == Merge((1, 2), extend=True)


def test_urgent_work_on_a_small_segment_does_not_hide_that_on_a_large_one() -> None:
    shapes = [shape(1, 500_000, dead=200_000), shape(2, 10_000, dead=9000)]
    assert merge(shapes, (), LIMITS) == merge(shapes, (), LIMITS, Lane.BRIEF) == Merge((2,), extend=False)
    assert merge(shapes, (), LIMITS, Lane.LONG) == Merge((1,), extend=False)


def test_folds_wait_while_merges_lag_far_behind() -> None:
    limits = replace(LIMITS, graph_at=16_000)
    assert not merges_first([shape(1, 500_000), *(shape(n, 5999, graph=False) for n in range(2, 10))], limits)
    assert merges_first([shape(1, 500_000), *(shape(n, 6000, graph=False) for n in range(2, 10))], limits)


def test_folds_wait_neither_for_what_came_at_once_nor_for_what_gets_no_graph() -> None:
    assert merges_first([shape(1, 39_999, graph=False), shape(2, 1, graph=False)], LIMITS)
    assert not merges_first([shape(1, 1_000_000, graph=False), shape(2, 39_999, graph=False)], LIMITS)
    assert not merges_first([shape(1, 39_999, graph=False, flat=True), shape(2, 1, graph=False)], LIMITS)
    assert not merges_first([shape(1, 39_999, dead=1, graph=False), shape(2, 1, graph=False)], LIMITS)
