"""Requests for recommendations to domain, and what was found back to protos."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from twinset.v1 import catalog_pb2, recommender_pb2
from twinset_server import limits
from twinset_server.domain import DEFAULT_TARGET_RECALL, VISUAL, SearchMethod, SearchPlan, Space
from twinset_server.errors import InvalidRequest
from twinset_server.recommend import (
    EXAMPLE_FIELD,
    Detail,
    Example,
    ItemExample,
    PictureExample,
    Recommendations,
    Request,
    VectorExample,
)
from twinset_server.rpc import convert, filters
from twinset_server.rpc.recommendation_ids import new_recommendation_id
from twinset_server.scoring import score_of

_DETAIL = {
    catalog_pb2.ITEM_VIEW_ID: Detail.ID,
    catalog_pb2.ITEM_VIEW_BASIC: Detail.BASIC,
    catalog_pb2.ITEM_VIEW_FULL: Detail.FULL,
}

_VIEWS = {detail: view for view, detail in _DETAIL.items()}

_METHODS = {
    SearchMethod.SCAN: recommender_pb2.SEARCH_METHOD_SCAN,
    SearchMethod.WALK: recommender_pb2.SEARCH_METHOD_WALK,
    SearchMethod.GATHER: recommender_pb2.SEARCH_METHOD_GATHER,
    SearchMethod.PARTITIONS: recommender_pb2.SEARCH_METHOD_PARTITIONS,
}


def request(message: recommender_pb2.RecommendRequest) -> Request:
    """Return what is asked for.

    Raises:
        InvalidRequest: there isn't exactly one example, the filter is malformed, or the message asks for what this
            version doesn't know.
    """
    k = message.k if message.HasField("k") else limits.DEFAULT_K
    view = convert.known_view(message.view, catalog_pb2.ITEM_VIEW_ID)
    convert.check_view(view, k, "k")
    return Request(
        example=_example(message),
        space=message.space or VISUAL,
        k=k,
        exclude=message.exclude,
        detail=_DETAIL[view],
        target_recall=_target_recall(message),
        expression=filters.expression(message),
        facets=filters.facet_requests(message.facets),
    )


def response(found: Recommendations, spaces: Mapping[str, Space]) -> recommender_pb2.RecommendResponse:
    """Return what was found; `spaces` are those that items may have vectors in."""
    result, space = found.result, found.space
    message = recommender_pb2.RecommendResponse(
        exact=result.exact,
        candidates_examined=result.examined,
        space=space.name,
        fingerprint=space.fingerprint,
        metric=convert.metric(space.metric),
        sequence=result.sequence,
        facets=[filters.facet(one) for one in result.facets],
        matching_count=result.matching,
        plan=_plan(result.plan),
        recommendation_id=new_recommendation_id(),
    )
    # Set in place, field by field: messages that are made first and copied into the answer take three times as long.
    add, metric, view = message.recommendations.add, space.metric, _VIEWS[found.detail]
    for item_id, picture_id, distance in result.neighbours:
        one = add()
        if found.items is None:
            one.item.id = item_id
        else:
            one.item.CopyFrom(convert.item(found.items[item_id], view, spaces))
        one.score = score_of(metric, distance)
        one.distance = distance
        one.picture_id = picture_id
    return message


def largest_part(message: recommender_pb2.RecommendResponse) -> str:
    """Return the field of the request to which an answer owes most of its size."""
    counts = sum(facet.ByteSize() for facet in message.facets)
    return "facets" if 2 * counts > message.ByteSize() else "k"


@functools.lru_cache(64)
def _plan(plan: SearchPlan) -> recommender_pb2.SearchPlan:
    return recommender_pb2.SearchPlan(
        method=_METHODS[plan.method], width=plan.width, expected_recall=plan.expected_recall
    )


def _target_recall(message: recommender_pb2.RecommendRequest) -> float:
    match message.WhichOneof("accuracy"):
        case "exact" if message.exact:
            return 1.0
        case "target_recall":
            return message.target_recall
        case _:
            return DEFAULT_TARGET_RECALL


def _example(message: recommender_pb2.RecommendRequest) -> Example:
    if len(message.examples) != 1:
        raise InvalidRequest("examples", f"holds {len(message.examples)}; exactly one example is accepted so far")
    (example,) = message.examples
    if example.relation not in (recommender_pb2.RELATION_UNSPECIFIED, recommender_pb2.RELATION_SIMILAR_TO):
        raise InvalidRequest(f"{EXAMPLE_FIELD}.relation", f"{example.relation} is unknown; use SIMILAR_TO")
    if example.HasField("weight") and not 0 < example.weight < float("inf"):
        raise InvalidRequest(f"{EXAMPLE_FIELD}.weight", f"is {example.weight}; a single example needs more than 0")
    match example.WhichOneof("example"):
        case "item_id":
            return ItemExample(example.item_id)
        case "picture":
            return PictureExample(example.picture)
        case "vector":
            return VectorExample(convert.vector(example.vector, f"{EXAMPLE_FIELD}.vector"))
        case _:
            raise InvalidRequest(EXAMPLE_FIELD, "is empty: set item_id, picture or vector")
