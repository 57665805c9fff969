"""Values of `twinset.pairs` to protobuf messages and back."""

from __future__ import annotations

from twinset import pairs, wire
from twinset.pair_contract import PairContract
from twinset.v1 import filter_pb2, pairs_pb2


def side_to_proto(side: str | pairs.Side) -> pairs_pb2.PairSide:
    """Return the message of a side; a text is an item's id.

    Raises:
        ValueError: not exactly one of item, picture and vector is given.
    """
    if isinstance(side, str):
        return pairs_pb2.PairSide(item_id=side)
    if sum(one is not None for one in (side.item, side.picture, side.vector)) != 1:
        raise ValueError("a side is exactly one of an item, a picture and a vector")
    message = pairs_pb2.PairSide(category=side.category)
    if side.item is not None:
        message.item_id = side.item
    elif side.picture is not None:
        message.picture = side.picture
    elif side.vector is not None:
        message.vector.CopyFrom(wire.vector_to_proto(side.vector))
    return message


def slot_to_proto(slot: str | pairs.Slot) -> pairs_pb2.Slot:
    """Return the message of a slot; a text is a category."""
    if isinstance(slot, str):
        return pairs_pb2.Slot(category=slot)
    message = pairs_pb2.Slot(category=slot.category, candidates=slot.candidates, exclude=slot.exclude)
    if isinstance(slot.filter, filter_pb2.Filter):
        message.filter_expression.CopyFrom(slot.filter)
    else:
        message.filter = slot.filter
    return message


def scoring_from_proto(message: pairs_pb2.PairScoring) -> pairs.PairScoring:
    """Return what made probabilities."""
    pair = message.pair
    return pairs.PairScoring(
        message.model,
        wire.metric_from_proto(pair.metric),
        PairContract(pair.offset, pair.scale, pair.shift, pair.prior, pair.ece),
        message.source_fingerprint,
        message.target_fingerprint,
        message.prior,
    )


def scored_pair_from_proto(message: pairs_pb2.ScorePairResponse) -> pairs.ScoredPair:
    """Return the answer of `ScorePair`."""
    return pairs.ScoredPair(
        _score_from_proto(message.score),
        _score_from_proto(message.reverse) if message.HasField("reverse") else None,
        scoring_from_proto(message.scoring),
        message.left_category_unknown,
        message.right_category_unknown,
        message.sequence,
        message.recommendation_id,
    )


def completed_set_from_proto(message: pairs_pb2.CompleteSetResponse) -> pairs.CompletedSet:
    """Return the answer of `CompleteSet`."""
    return pairs.CompletedSet(
        tuple(
            pairs.FilledSlot(
                _slot_item_from_proto(slot.chosen) if slot.HasField("chosen") else None,
                tuple(map(_slot_item_from_proto, slot.alternatives)),
                slot.candidates_examined,
            )
            for slot in message.slots
        ),
        message.score,
        message.pair_count,
        message.exact,
        scoring_from_proto(message.scoring),
        tuple(message.category_unknown_given),
        message.sequence,
        message.recommendation_id,
    )


def _score_from_proto(message: pairs_pb2.PairScore) -> pairs.PairScore:
    return pairs.PairScore(message.probability, message.distance, message.left_picture_id, message.right_picture_id)


def _slot_item_from_proto(message: pairs_pb2.SlotItem) -> pairs.SlotItem:
    return pairs.SlotItem(wire.item_from_proto(message.item), message.set_score, message.item_score)
