"""Values of `twinset.recommendations` to protobuf messages and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from twinset import recommendations, wire
from twinset.embeddings import Prediction
from twinset.v1 import embedding_pb2, filter_pb2, recommender_pb2

_METHODS: dict[int, recommendations.Method] = {
    recommender_pb2.SEARCH_METHOD_SCAN: "scan",
    recommender_pb2.SEARCH_METHOD_WALK: "walk",
    recommender_pb2.SEARCH_METHOD_GATHER: "gather",
    recommender_pb2.SEARCH_METHOD_PARTITIONS: "partitions",
}

_RELATIONS: dict[recommendations.Relation | None, recommender_pb2.Relation] = {
    None: recommender_pb2.RELATION_UNSPECIFIED,
    "similar_to": recommender_pb2.RELATION_SIMILAR_TO,
    "completes": recommender_pb2.RELATION_COMPLETES,
    "completed_by": recommender_pb2.RELATION_COMPLETED_BY,
    "liked_by": recommender_pb2.RELATION_LIKED_BY,
}


def query_to_proto(query: recommendations.Query) -> recommender_pb2.RecommendRequest:
    """Return the request.

    Raises:
        ValueError: not exactly one of item, picture, vector and examples is given, or `exact` and `target_recall` both.
    """
    alone = (query.item, query.picture, query.vector, query.examples or None)
    if sum(given is not None for given in alone) != 1:
        raise ValueError("a query takes exactly one of item, picture, vector and examples")
    if query.exact and query.target_recall is not None:
        raise ValueError("a query takes exact or target_recall, not both")
    space = query.space or (query.vector.space if query.vector is not None else "")
    examples = query.examples or [recommendations.Example(item=query.item, picture=query.picture, vector=query.vector)]
    request = recommender_pb2.RecommendRequest(
        examples=map(example_to_proto, examples),
        k=query.k,
        exclude=query.exclude,
        space=space,
        view=wire.view_to_proto(query.view),
        filter=query.filter if isinstance(query.filter, str) else "",
        filter_expression=None if isinstance(query.filter, str) else query.filter,
        facets=facets_to_proto(query.facets),
        exact=True if query.exact else None,
        target_recall=query.target_recall,
        target_categories=query.target_categories,
        min_score=query.min_score,
        mmr_lambda=query.mmr_lambda,
        max_similarity=query.max_similarity,
        explain=query.explain,
        page_size=query.page_size,
        page_token=query.page_token,
    )
    if query.group_by:
        request.group_by.field = query.group_by
        request.group_by.size = query.group_size
    return request


def example_to_proto(example: recommendations.Example) -> recommender_pb2.Example:
    """Return the message of an example.

    Raises:
        ValueError: not exactly one of item, picture, vector and user is given, or there is no such relation.
    """
    if sum(given is not None for given in (example.item, example.picture, example.vector, example.user)) != 1:
        raise ValueError("an example is exactly one of item, picture, vector and user")
    if example.relation not in _RELATIONS:
        known = ", ".join(name for name in _RELATIONS if name)
        raise ValueError(f"relation is {example.relation!r}, expected one of {known}")
    return recommender_pb2.Example(
        item_id=example.item,
        picture=example.picture,
        vector=None if example.vector is None else wire.vector_to_proto(example.vector),
        user_id=example.user,
        relation=_RELATIONS[example.relation],
        weight=None if example.weight == 1 else example.weight,
        space=example.space,
        category=example.category,
    )


def recommendations_from_proto(response: recommender_pb2.RecommendResponse) -> recommendations.Recommendations:
    """Return an answer of the recommender."""
    return recommendations.Recommendations(
        results=tuple(map(_recommendation_from_proto, response.recommendations)),
        exact=response.exact,
        candidates_examined=response.candidates_examined,
        space=response.space,
        fingerprint=response.fingerprint,
        metric=wire.metric_from_proto(response.metric),
        sequence=response.sequence,
        facets={facet.field: _facet_from_proto(facet) for facet in response.facets},
        matching_count=response.matching_count if response.HasField("matching_count") else None,
        plan=_plan_from_proto(response.plan),
        recommendation_id=response.recommendation_id,
        next_page_token=response.next_page_token,
        searches=tuple(map(_search_from_proto, response.searches)),
        examples=tuple(map(_example_from_proto, response.examples)),
    )


def facets_to_proto(facets: Mapping[str, int] | Iterable[str]) -> list[filter_pb2.FacetRequest]:
    """Return the messages for fields, with the number of values of each where that is given."""
    if isinstance(facets, Mapping):
        return [filter_pb2.FacetRequest(field=name, limit=limit) for name, limit in facets.items()]
    return [filter_pb2.FacetRequest(field=name) for name in facets]


def _recommendation_from_proto(found: recommender_pb2.Recommendation) -> recommendations.Recommendation:
    return recommendations.Recommendation(
        item=wire.item_from_proto(found.item),
        score=found.score,
        distance=found.distance,
        picture_id=found.picture_id,
        probability=found.probability if found.HasField("probability") else None,
        group=wire.attribute_from_proto(found.group) if found.HasField("group") else None,
        explanation=_explanation_from_proto(found.explanation) if found.HasField("explanation") else None,
    )


def _explanation_from_proto(explanation: recommender_pb2.Explanation) -> recommendations.Explanation:
    predicted = explanation.category_predicted
    return recommendations.Explanation(
        contributions=tuple(map(_contribution_from_proto, explanation.contributions)),
        category_predicted=_prediction_from_proto(predicted) if explanation.HasField("category_predicted") else None,
    )


def _contribution_from_proto(told: recommender_pb2.Contribution) -> recommendations.Contribution:
    return recommendations.Contribution(
        example=told.example,
        share=told.share,
        similarity=told.similarity if told.HasField("similarity") else None,
        percentile=told.percentile if told.HasField("percentile") else None,
        picture_id=told.picture_id,
        nearest_picture_id=told.nearest_picture_id,
        nearest_similarity=told.nearest_similarity if told.HasField("nearest_similarity") else None,
        probability=told.probability if told.HasField("probability") else None,
    )


def _search_from_proto(search: recommender_pb2.SpaceSearch) -> recommendations.SpaceSearch:
    return recommendations.SpaceSearch(
        space=search.space,
        fingerprint=search.fingerprint,
        metric=wire.metric_from_proto(search.metric),
        plan=_plan_from_proto(search.plan),
        candidates_examined=search.candidates_examined,
        examples=tuple(search.examples),
    )


def _example_from_proto(example: recommender_pb2.ExampleExplanation) -> recommendations.ExampleExplanation:
    return recommendations.ExampleExplanation(
        space=example.space,
        target_space=example.target_space,
        weight=example.weight,
        predictions={
            told.output: _prediction_from_proto(told.predictions[0])
            for told in example.classifications
            if told.predictions
        },
        category_unknown=example.category_unknown,
    )


def _prediction_from_proto(prediction: embedding_pb2.Prediction) -> Prediction:
    return Prediction(prediction.class_name, prediction.probability)


def _plan_from_proto(plan: recommender_pb2.SearchPlan) -> recommendations.SearchPlan:
    return recommendations.SearchPlan(
        method=_METHODS.get(plan.method, "scan"),
        width=plan.width,
        expected_recall=plan.expected_recall if plan.HasField("expected_recall") else None,
    )


def _facet_from_proto(facet: filter_pb2.Facet) -> recommendations.Facet:
    counts = ((wire.attribute_from_proto(one.value), one.count) for one in facet.counts)
    return recommendations.Facet(
        counts=tuple((value, count) for value, count in counts if value is not None),
        distinct_count=facet.distinct_count,
        missing_count=facet.missing_count,
    )
