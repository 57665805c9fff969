"""Requests for recommendations to domain."""

from __future__ import annotations

from twinset.v1 import catalog_pb2, recommender_pb2
from twinset_server import limits
from twinset_server.domain import CATEGORY, DEFAULT_TARGET_RECALL, VISUAL, And, Expression, In
from twinset_server.errors import InvalidRequest
from twinset_server.recommend import (
    PLAIN,
    Detail,
    Example,
    Grouping,
    ItemExample,
    PictureExample,
    Refinement,
    Relation,
    Request,
    Subject,
    UserExample,
    VectorExample,
)
from twinset_server.rpc import convert, filters

DETAILS = {
    catalog_pb2.ITEM_VIEW_ID: Detail.ID,
    catalog_pb2.ITEM_VIEW_BASIC: Detail.BASIC,
    catalog_pb2.ITEM_VIEW_FULL: Detail.FULL,
}

_RELATIONS = {
    recommender_pb2.RELATION_SIMILAR_TO: Relation.SIMILAR_TO,
    recommender_pb2.RELATION_COMPLETES: Relation.COMPLETES,
    recommender_pb2.RELATION_COMPLETED_BY: Relation.COMPLETED_BY,
    recommender_pb2.RELATION_LIKED_BY: Relation.LIKED_BY,
}


def request(message: recommender_pb2.RecommendRequest) -> Request:
    """Return what is asked for.

    Raises:
        InvalidRequest: an example is empty, the filter is malformed, or the message asks for what this version doesn't
            know.
    """
    k = message.k if message.HasField("k") else limits.DEFAULT_K
    view = convert.known_view(message.view, catalog_pb2.ITEM_VIEW_ID)
    convert.check_view(view, message.page_size or k, "page_size" if message.page_size else "k")
    return Request(
        examples=[_example(example, f"examples[{number}]") for number, example in enumerate(message.examples)],
        space=message.space or VISUAL,
        k=k,
        exclude=message.exclude,
        detail=DETAILS[view],
        target_recall=_target_recall(message),
        expression=_expression(message),
        facets=filters.facet_requests(message.facets) if message.facets else (),
        refinement=_refinement(message),
        explain=message.explain,
        page_size=message.page_size,
    )


def _expression(message: recommender_pb2.RecommendRequest) -> Expression | None:
    filtered = filters.expression(message)
    if not message.target_categories:
        return filtered
    limits.check_count("target_categories", message.target_categories, limits.MAX_TARGET_CATEGORIES)
    limits.check_texts("target_categories", message.target_categories, limits.MAX_CATEGORY_BYTES)
    targets = In(CATEGORY, tuple(message.target_categories))
    return targets if filtered is None else And((targets, filtered))


def _refinement(message: recommender_pb2.RecommendRequest) -> Refinement:
    has = message.HasField
    if not (has("min_score") or has("mmr_lambda") or has("group_by") or has("max_similarity")):
        return PLAIN
    grouping = message.group_by
    return Refinement(
        min_score=message.min_score if has("min_score") else None,
        mmr_lambda=message.mmr_lambda if has("mmr_lambda") else None,
        group_by=Grouping(grouping.field, grouping.size if grouping.HasField("size") else 1)
        if has("group_by")
        else None,
        max_similarity=message.max_similarity if has("max_similarity") else None,
    )


def _target_recall(message: recommender_pb2.RecommendRequest) -> float:
    match message.WhichOneof("accuracy"):
        case "exact" if message.exact:
            return 1.0
        case "target_recall":
            return message.target_recall
        case _:
            return DEFAULT_TARGET_RECALL


def _example(message: recommender_pb2.Example, field: str) -> Example:
    subject = _subject(message, field)
    if message.category and not isinstance(subject, PictureExample):
        raise InvalidRequest(f"{field}.category", "is set, and the example is no picture: only pictures have one")
    if message.relation == recommender_pb2.RELATION_UNSPECIFIED:
        relation = Relation.LIKED_BY if isinstance(subject, UserExample) else Relation.SIMILAR_TO
    elif message.relation in _RELATIONS:
        relation = _RELATIONS[message.relation]
    else:
        raise InvalidRequest(f"{field}.relation", f"{message.relation} is no Relation")
    weight = message.weight if message.HasField("weight") else 1.0
    return Example(subject, relation, weight, message.space or None)


def _subject(message: recommender_pb2.Example, field: str) -> Subject:
    match message.WhichOneof("example"):
        case "item_id":
            return ItemExample(message.item_id)
        case "picture":
            return PictureExample(message.picture, message.category)
        case "vector":
            return VectorExample(convert.vector(message.vector, f"{field}.vector"))
        case "user_id":
            return UserExample(message.user_id)
        case _:
            raise InvalidRequest(field, "is empty: set item_id, picture, vector or user_id")
