"""What was found to protos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinset.v1 import embedding_pb2, recommender_pb2
from twinset_server.domain import Item, Prediction, SearchMethod, SearchPlan, Space
from twinset_server.recommend import Contribution, ExampleNote, Note, Recommendations, SpaceSearch
from twinset_server.rpc import convert, filters
from twinset_server.rpc.recommendation_ids import new_recommendation_id
from twinset_server.rpc.recommendation_requests import DETAILS
from twinset_server.scoring import scores_of

_VIEWS = {detail: view for view, detail in DETAILS.items()}

_METHODS = {
    SearchMethod.SCAN: recommender_pb2.SEARCH_METHOD_SCAN,
    SearchMethod.WALK: recommender_pb2.SEARCH_METHOD_WALK,
    SearchMethod.GATHER: recommender_pb2.SEARCH_METHOD_GATHER,
    SearchMethod.PARTITIONS: recommender_pb2.SEARCH_METHOD_PARTITIONS,
}


def response(found: Recommendations, spaces: Mapping[str, Space]) -> recommender_pb2.RecommendResponse:
    """Return what was found; `spaces` are those that items may have vectors in."""
    message = recommender_pb2.RecommendResponse()
    fill(message, found, spaces)
    return message


def fill(message: recommender_pb2.RecommendResponse, found: Recommendations, spaces: Mapping[str, Space]) -> None:
    """Write into an empty `message` what `response` returns.

    Fields are set in place: messages that are made first and copied into the answer take three times as long.
    """
    result, space = found.result, found.space
    message.exact = result.exact
    message.candidates_examined = result.examined
    message.space = space.name
    message.fingerprint = space.fingerprint
    message.metric = convert.metric(space.metric)
    message.sequence = result.sequence
    message.recommendation_id = new_recommendation_id()
    _write_plan(message.plan, result.plan)
    if result.matching is not None:
        message.matching_count = result.matching
    if result.facets:
        message.facets.extend(filters.facet(one) for one in result.facets)
    if found.searches:
        message.searches.extend(_search(one) for one in found.searches)
    if found.examples:
        message.examples.extend(_example(one) for one in found.examples)
    add, items = message.recommendations.add, found.items
    scores = scores_of(space.metric, [one.distance for one in result.neighbours])
    for (item_id, picture_id, distance), score in zip(result.neighbours, scores, strict=True):
        one = add()
        if items and item_id in items:
            one.item.CopyFrom(convert.item(items[item_id], _VIEWS[found.detail], spaces))
        else:
            one.item.id = item_id
        one.score = score
        one.distance = distance
        if picture_id:
            one.picture_id = picture_id
    if found.notes is not None:
        for one, note in zip(message.recommendations, found.notes, strict=True):
            _tell(one, note)
    if found.examples:
        explain_classes(message.recommendations, found.items or {})


def explain_classes(recommendations: Sequence[recommender_pb2.Recommendation], items: Mapping[str, Item]) -> None:
    """Tell which of the items' categories the model predicted."""
    for one in recommendations:
        item = items.get(one.item.id)
        if item is not None and item.category_probability is not None:
            predicted = convert.prediction(Prediction(item.category, item.category_probability))
            one.explanation.category_predicted.CopyFrom(predicted)


def largest_part(message: recommender_pb2.RecommendResponse) -> str:
    """Return the field of the request to which an answer owes most of its size."""
    if not message.facets:
        return "k"
    return "facets" if 2 * sum(facet.ByteSize() for facet in message.facets) > message.ByteSize() else "k"


def _write_plan(message: recommender_pb2.SearchPlan, plan: SearchPlan) -> None:
    message.method = _METHODS[plan.method]
    message.width = plan.width
    if plan.expected_recall is not None:
        message.expected_recall = plan.expected_recall


def _tell(one: recommender_pb2.Recommendation, note: Note) -> None:
    one.score = note.score
    if note.probability is not None:
        one.probability = note.probability
    if note.group is not None:
        one.group.CopyFrom(convert.attribute_message(note.group))
    if note.contributions:
        one.explanation.contributions.extend(
            _contribution(number, told) for number, told in enumerate(note.contributions)
        )


def _contribution(number: int, told: Contribution) -> recommender_pb2.Contribution:
    return recommender_pb2.Contribution(
        example=number,
        share=told.share,
        similarity=told.similarity,
        percentile=told.percentile,
        picture_id=told.picture_id,
        nearest_picture_id=told.nearest_picture_id,
        nearest_similarity=told.nearest_similarity,
        probability=told.probability,
    )


def _search(one: SpaceSearch) -> recommender_pb2.SpaceSearch:
    message = recommender_pb2.SpaceSearch(
        space=one.space.name,
        fingerprint=one.space.fingerprint,
        metric=convert.metric(one.space.metric),
        candidates_examined=one.examined,
        examples=one.examples,
    )
    _write_plan(message.plan, one.plan)
    return message


def _example(one: ExampleNote) -> recommender_pb2.ExampleExplanation:
    return recommender_pb2.ExampleExplanation(
        space=one.space,
        target_space=one.target,
        weight=one.weight,
        classifications=[
            embedding_pb2.Classification(output=output, predictions=[convert.prediction(found)])
            for output, found in one.predictions.items()
        ],
        category_unknown=one.category_unknown,
    )
