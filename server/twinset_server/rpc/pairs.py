"""The RPCs about pairs and sets: protos to domain and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twinset.v1 import catalog_pb2, pairs_pb2
from twinset_server import limits
from twinset_server.compatibility.candidates import Slot
from twinset_server.compatibility.completion import (
    DEFAULT_ALTERNATIVES,
    DEFAULT_BEAM,
    CompletedSet,
    SetCompleter,
    SetRequest,
    SlotItem,
)
from twinset_server.compatibility.pairs import PairRequest, PairScore, PairScorer, PairsRequest, ScoredPairs
from twinset_server.compatibility.reading import SideReader
from twinset_server.compatibility.sides import ItemSide, Numbers, OtherSide, PictureSide, Side, Sides, VectorSide
from twinset_server.domain import Item
from twinset_server.embedding import Pictures
from twinset_server.errors import InvalidRequest
from twinset_server.pair_model import PairModel
from twinset_server.ports import Catalog
from twinset_server.rpc import convert, filters
from twinset_server.rpc.answers import check_size
from twinset_server.rpc.recommendation_ids import new_recommendation_id
from twinset_server.rpc.status import to_status


class PairCalls:
    """Answers requests about pairs and sets."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        """Answer from `catalog`, with pictures embedded by `pictures`."""
        self._catalog = catalog
        reader = SideReader(catalog, pictures)
        self._scorer = PairScorer(reader)
        self._completer = SetCompleter(reader)

    async def score(self, message: pairs_pb2.ScorePairRequest, timeout_s: float) -> pairs_pb2.ScorePairResponse:
        """Answer `ScorePair`."""
        request = PairRequest(
            _side(message.left, "left"), _side(message.right, "right"), message.both_directions, _prior(message)
        )
        scored = await self._scorer.score(request, timeout_s=timeout_s)
        return pairs_pb2.ScorePairResponse(
            score=_score(scored.score),
            reverse=None if scored.reverse is None else _score(scored.reverse),
            scoring=_scoring(scored.model, scored.prior),
            left_category_unknown=scored.left_unknown,
            right_category_unknown=scored.right_unknown,
            sequence=scored.sequence,
            recommendation_id=new_recommendation_id(),
        )

    async def score_many(
        self, message: pairs_pb2.BatchScorePairsRequest, timeout_s: float
    ) -> pairs_pb2.BatchScorePairsResponse:
        """Answer `BatchScorePairs`."""
        response = _pairs_response(await self._scorer.score_many(_pairs_request(message), timeout_s=timeout_s))
        check_size("left", response)
        return response

    async def complete(self, message: pairs_pb2.CompleteSetRequest, timeout_s: float) -> pairs_pb2.CompleteSetResponse:
        """Answer `CompleteSet`."""
        view = convert.known_view(message.view, catalog_pb2.ITEM_VIEW_ID)
        request = _set_request(message)
        convert.check_view(view, len(request.slots) * (1 + request.alternatives), "alternatives")
        completed = await self._completer.complete(request, timeout_s=timeout_s)
        items = await self._items(completed, view)
        response = _set_response(completed, items)
        check_size("alternatives", response)
        return response

    async def _items(self, completed: CompletedSet, view: convert.View) -> Mapping[str, catalog_pb2.Item]:
        """Return each item by the view asked for; one that was deleted meanwhile by its id alone."""
        shown = {one.item_id for slot in completed.slots for one in (slot.chosen, *slot.alternatives) if one}
        stored: Sequence[Item | None] = ()
        if view != catalog_pb2.ITEM_VIEW_ID:
            stored = await self._catalog.get(sorted(shown), vectors=view == catalog_pb2.ITEM_VIEW_FULL)
        spaces = self._catalog.spaces()
        found = {item.id: convert.item(item, view, spaces) for item in stored if item is not None}
        return {item_id: found.get(item_id) or catalog_pb2.Item(id=item_id) for item_id in shown}


def _side(message: pairs_pb2.PairSide, field: str) -> Side:
    match message.WhichOneof("side"):
        case "item_id" if message.category:
            raise InvalidRequest(f"{field}.category", "an item has its own: leave it empty")
        case "item_id":
            return ItemSide(message.item_id)
        case _:
            return _other_side(message, field)


def _other_side(message: pairs_pb2.PairSide, field: str) -> OtherSide:
    limits.check_category(f"{field}.category", message.category)
    match message.WhichOneof("side"):
        case "picture":
            return PictureSide(message.picture, message.category)
        case "vector":
            return VectorSide(convert.vector(message.vector, f"{field}.vector"), message.category)
        case "item_id":
            raise InvalidRequest(f"{field}.item_id", "is an item: name it in item_ids")
        case _:
            raise InvalidRequest(field, "is empty: set item_id, picture or vector")


def _prior(
    message: pairs_pb2.ScorePairRequest | pairs_pb2.BatchScorePairsRequest | pairs_pb2.CompleteSetRequest,
) -> float | None:
    return message.prior if message.HasField("prior") else None


def _score(score: PairScore) -> pairs_pb2.PairScore:
    return pairs_pb2.PairScore(
        probability=score.probability,
        distance=score.distance,
        left_picture_id=score.left_picture_id,
        right_picture_id=score.right_picture_id,
    )


def _scoring(model: PairModel, prior: float) -> pairs_pb2.PairScoring:
    return pairs_pb2.PairScoring(
        model=model.name,
        pair=convert.pair_model(model.contract, model.metric),
        source_fingerprint=model.source.fingerprint,
        target_fingerprint=model.target.fingerprint,
        prior=prior,
    )


def _pairs_request(message: pairs_pb2.BatchScorePairsRequest) -> PairsRequest:
    limits.check_count("item_ids", message.item_ids, limits.MAX_PAIR_ITEMS)
    limits.check_count("sides", message.sides, limits.MAX_PAIR_SIDES)
    limits.check_count("left", message.left, limits.MAX_PAIRS, least=1)
    if len(message.right) != len(message.left):
        raise InvalidRequest("right", f"holds {len(message.right)} numbers, and left {len(message.left)}")
    item_ids = list(message.item_ids)
    if len(set(item_ids)) != len(item_ids):
        first = {item_id: place for place, item_id in reversed(list(enumerate(item_ids)))}
        twice = next(place for place, item_id in enumerate(item_ids) if first[item_id] != place)
        raise InvalidRequest(f"item_ids[{twice}]", f"{item_ids[twice]!r} is there twice: name it once, by one number")
    others = [_other_side(side, f"sides[{place}]") for place, side in enumerate(message.sides)]
    sides = Sides(item_ids, others)
    return PairsRequest(
        sides,
        _numbers("left", message.left, len(sides)),
        _numbers("right", message.right, len(sides)),
        message.both_directions,
        _prior(message),
    )


def _numbers(field: str, given: Sequence[int], sides: int) -> Numbers:
    numbers = np.fromiter(given, np.intp, len(given))
    if len(beyond := np.flatnonzero(numbers >= sides)):
        place = int(beyond[0])
        raise InvalidRequest(f"{field}[{place}]", f"is {numbers[place]}; item_ids and sides have {sides} numbers")
    return numbers


def _pairs_response(scored: ScoredPairs) -> pairs_pb2.BatchScorePairsResponse:
    response = pairs_pb2.BatchScorePairsResponse(
        failed_sides=[
            pairs_pb2.FailedSide(side=number, error=to_status(error)) for number, error in sorted(scored.failed.items())
        ],
        category_unknown_sides=scored.unknown,
        scoring=_scoring(scored.model, scored.prior),
        sequence=scored.sequence,
        recommendation_id=new_recommendation_id(),
    )
    response.probabilities.extend(scored.scores.probabilities.tolist())
    response.distances.extend(scored.scores.distances.tolist())
    if scored.reverse is not None:
        response.reverse_probabilities.extend(scored.reverse.probabilities.tolist())
        response.reverse_distances.extend(scored.reverse.distances.tolist())
    return response


def _set_request(message: pairs_pb2.CompleteSetRequest) -> SetRequest:
    limits.check_count("given", message.given, limits.MAX_GIVEN, least=1)
    limits.check_count("slots", message.slots, limits.MAX_SLOTS, least=1)
    return SetRequest(
        given=[_side(side, f"given[{place}]") for place, side in enumerate(message.given)],
        slots=[_slot(slot, f"slots[{place}]") for place, slot in enumerate(message.slots)],
        both_directions=message.both_directions,
        beam=message.beam if message.HasField("beam") else DEFAULT_BEAM,
        alternatives=message.alternatives if message.HasField("alternatives") else DEFAULT_ALTERNATIVES,
        exclude=message.exclude,
        prior=_prior(message),
    )


def _slot(message: pairs_pb2.Slot, field: str) -> Slot:
    try:
        expression = filters.expression(message)
    except InvalidRequest as error:
        raise error.within(field) from error
    return Slot(message.category, expression, message.candidates, message.exclude)


def _set_response(completed: CompletedSet, items: Mapping[str, catalog_pb2.Item]) -> pairs_pb2.CompleteSetResponse:
    def item(one: SlotItem) -> pairs_pb2.SlotItem:
        return pairs_pb2.SlotItem(item=items[one.item_id], set_score=one.set_score, item_score=one.item_score)

    return pairs_pb2.CompleteSetResponse(
        slots=[
            pairs_pb2.FilledSlot(
                chosen=None if slot.chosen is None else item(slot.chosen),
                alternatives=[item(one) for one in slot.alternatives],
                candidates_examined=slot.examined,
            )
            for slot in completed.slots
        ],
        score=completed.score,
        pair_count=completed.pairs,
        exact=completed.exact,
        scoring=_scoring(completed.model, completed.prior),
        category_unknown_given=completed.unknown,
        sequence=completed.sequence,
        recommendation_id=new_recommendation_id(),
    )
