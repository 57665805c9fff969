"""Answers that take more than one search: by examples of several spaces, refined, or explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twinset_server.domain import Neighbour, Search, SearchResult
from twinset_server.pair_model import PairModel
from twinset_server.ports import CatalogState
from twinset_server.recommend.candidates import Candidates
from twinset_server.recommend.examples import Compared, combined_of
from twinset_server.recommend.explaining import contributions
from twinset_server.recommend.measures import Measure, found_by, measures_of
from twinset_server.recommend.percentiles import Float64Array, Percentiles
from twinset_server.recommend.request import Note, Refinement, Request, SpaceSearch
from twinset_server.recommend.selection import Likeness, select
from twinset_server.scoring import similarities

_CHOICE = 500
"""Diversity chooses among at least so many items, and among twice as many as are asked for."""

_WIDER = 4
_SAMPLE = 256
"""Vectors whose similarities to each other tell how similar items are to each other."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What was found, what is told of each item, and what was searched."""

    result: SearchResult
    notes: Sequence[Note]
    searches: Sequence[SpaceSearch]


def refine(
    request: Request, examples: Sequence[Compared], asked: Search, state: CatalogState, pairs: PairModel | None
) -> Refined:
    """Return the best items as the request wants them; this may take long.

    Args:
        request: what is wanted.
        examples: those of the request.
        asked: what all searches have in common.
        state: where to look.
        pairs: what tells the probabilities of pairs; None where nothing does.
    Raises:
        InvalidRequest: the examples cancel each other out.
    """
    measures = measures_of(examples, state)
    candidates = Candidates(measures, asked, state)
    item_ids, scores, proven = _chosen(request, measures, candidates, state)
    told = contributions(measures, item_ids, state, pairs)
    distances = _distances(measures, scores)
    first_pair = next((one.number for one in examples if one.example.relation.is_pair), None)
    first = measures[0].examples[0].number
    grouping = request.refinement.group_by
    groups = [None] * len(item_ids) if grouping is None else state.attributes(grouping.field, item_ids)
    neighbours = [
        Neighbour(item_id, of_item[first].picture_id, distance)
        for item_id, of_item, distance in zip(item_ids, told, distances, strict=True)
    ]
    notes = [
        Note(
            score,
            None if first_pair is None else of_item[first_pair].probability,
            group,
            of_item if request.explain else (),
        )
        for of_item, score, group in zip(told, scores.tolist(), groups, strict=True)
    ]
    return Refined(candidates.result(neighbours, proven=proven), notes, candidates.searches())


def _chosen(
    request: Request, measures: Sequence[Measure], candidates: Candidates, state: CatalogState
) -> tuple[list[str], Float64Array, bool]:
    """Return the items, their scores, and whether no other items could have been among them."""
    refinement, surely = request.refinement, request.target_recall == 1
    width = request.k if refinement.mmr_lambda is None else max(_CHOICE, 2 * request.k)
    between = _between(measures[0], state) if refinement.mmr_lambda is not None else None
    while True:
        while not (proven := candidates.hold_best(width, refinement.min_score)):
            if not candidates.deepen(width, surely=surely):
                break
        item_ids, scores = candidates.ranked(width, refinement.min_score)
        places = _selected(refinement, request.k, item_ids, scores, measures[0], between, state)
        if len(places) < request.k:
            if len(item_ids) == width:
                width *= _WIDER
                continue
            # Whatever it costs: fewer than asked for come back only where there are no more.
            if not proven and candidates.deepen(width, surely=True):
                continue
        return [item_ids[place] for place in places], scores[places], proven


def _selected(
    refinement: Refinement,
    k: int,
    item_ids: Sequence[str],
    scores: Float64Array,
    measure: Measure,
    between: Percentiles | None,
    state: CatalogState,
) -> list[int]:
    likeness, groups, grouping = None, None, refinement.group_by
    if refinement.mmr_lambda is not None or refinement.max_similarity is not None:
        vectors, known = found_by(measure, item_ids, state)
        likeness = Likeness(vectors, known, measure.space.metric, between)
    if grouping is not None:
        groups = state.attributes(grouping.field, item_ids)
    return select(
        scores,
        k,
        likeness=likeness,
        mmr_lambda=refinement.mmr_lambda,
        max_similarity=refinement.max_similarity,
        groups=groups,
        group_size=1 if grouping is None else grouping.size,
    )


def _between(measure: Measure, state: CatalogState) -> Percentiles | None:
    """Return the percentiles of similarities between items; None where scores are similarities of the space too."""
    if measure.percentiles is None:
        return None
    sample = state.sample(measure.space.name, _SAMPLE)
    own = similarities(sample, sample, measure.space.metric)
    return Percentiles.over(own[np.triu_indices(len(sample), 1)])


def _distances(measures: Sequence[Measure], scores: Float64Array) -> list[float]:
    """Return how far each item is from what the examples combine to; 0 where they don't."""
    combined = None if len(measures) > 1 else combined_of(measures[0].examples)
    return [0.0 if combined is None else combined.distance(score) for score in scores.tolist()]
