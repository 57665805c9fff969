"""What each example has to do with each found item."""

from __future__ import annotations

from collections.abc import Sequence

from twinset_server.domain import ItemRows
from twinset_server.pair_model import PairModel
from twinset_server.ports import CatalogState
from twinset_server.recommend.measures import NOWHERE, Measure, first_rows
from twinset_server.recommend.percentiles import MEDIAN, Float64Array
from twinset_server.recommend.request import Contribution


def contributions(
    measures: Sequence[Measure], item_ids: Sequence[str], state: CatalogState, pairs: PairModel | None
) -> list[list[Contribution]]:
    """Return for each item what every example adds to its score, in the order of the examples.

    Args:
        measures: how items compare with the examples.
        item_ids: the items, each once.
        state: where they were found.
        pairs: what tells the probabilities of pairs; None where nothing does.
    """
    count = sum(len(measure.examples) for measure in measures)
    found: list[list[Contribution | None]] = [[None] * count for _ in item_ids]
    for measure in measures:
        rows = state.vectors(measure.space.name, item_ids)
        own = measure.similarities(rows)
        counted = measure.counted(own)
        best, _ = measure.best_rows(rows, own, len(item_ids))
        for place, example in enumerate(measure.examples):
            nearest = first_rows(rows, own[:, place], len(item_ids))
            told = pairs if example.example.relation.is_pair else None
            for item, (row, near) in enumerate(zip(best.tolist(), nearest.tolist(), strict=True)):
                found[item][example.number] = (
                    _absent(measure, place)
                    if row == NOWHERE
                    else _contribution(measure, place, rows, own, counted, row, near, told)
                )
    return [[one for one in item if one is not None] for item in found]


def _contribution(
    measure: Measure,
    place: int,
    rows: ItemRows,
    own: Float64Array,
    counted: Float64Array,
    row: int,
    near: int,
    pairs: PairModel | None,
) -> Contribution:
    nearest = float(own[near, place])
    return Contribution(
        share=float(measure.shares[place] * counted[row, place]),
        similarity=float(own[row, place]),
        percentile=None if measure.percentiles is None else float(counted[row, place]),
        picture_id=rows.picture_ids[row],
        nearest_picture_id=rows.picture_ids[near],
        nearest_similarity=nearest,
        # The distance between the two sides of a pair is their similarity with the other sign.
        probability=None if pairs is None else float(pairs.probabilities(-nearest)),
    )


def _absent(measure: Measure, place: int) -> Contribution:
    return Contribution(
        share=MEDIAN * float(measure.shares[place]),
        similarity=None,
        percentile=MEDIAN,
        picture_id="",
        nearest_picture_id="",
        nearest_similarity=None,
        probability=None,
    )
