"""Queries to messages, and answers back."""

from __future__ import annotations

import numpy as np
import pytest

from twinset import (
    Contribution,
    Example,
    ExampleExplanation,
    Explanation,
    Metric,
    Prediction,
    Query,
    SearchPlan,
    SpaceSearch,
    Vector,
)
from twinset.v1 import catalog_pb2, embedding_pb2, recommender_pb2
from twinset.wire_recommendations import example_to_proto, query_to_proto, recommendations_from_proto


def test_every_field_of_a_query_is_sent() -> None:
    examples = [
        Example(item="sofa", relation="completes", weight=2.0),
        Example(picture=b"jpeg", category="lamp", weight=-0.5),
        Example(vector=Vector(np.array([1, 0], np.float32), "own"), space="own"),
        Example(user="ann"),
    ]
    sent = query_to_proto(
        Query(
            examples=examples,
            k=50,
            space="visual",
            target_categories=("lamp", "table"),
            min_score=0.0,
            mmr_lambda=0.7,
            group_by="attributes.family",
            group_size=2,
            max_similarity=0.98,
            explain=True,
            page_size=10,
            page_token="t",
        )
    )
    assert [one.WhichOneof("example") for one in sent.examples] == ["item_id", "picture", "vector", "user_id"]
    assert [one.relation for one in sent.examples] == [recommender_pb2.RELATION_COMPLETES, 0, 0, 0]
    assert [one.weight if one.HasField("weight") else None for one in sent.examples] == [2, -0.5, None, None]
    assert (sent.examples[1].category, sent.examples[2].space) == ("lamp", "own")
    assert list(sent.target_categories) == ["lamp", "table"]
    assert (sent.HasField("min_score"), sent.min_score, sent.mmr_lambda, sent.max_similarity) == (True, 0, 0.7, 0.98)
    assert (sent.group_by.field, sent.group_by.size) == ("attributes.family", 2)
    assert (sent.explain, sent.page_size, sent.page_token) == (True, 10, "t")


def test_what_nobody_asked_for_is_not_sent() -> None:
    sent = query_to_proto(Query(item="sofa"))
    unset = {"min_score", "mmr_lambda", "group_by", "max_similarity", "filter_expression"}
    assert not [name for name in unset if sent.HasField(name)]
    assert sent.WhichOneof("accuracy") is None


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "exactly one of item, picture, vector and examples"),
        (Query(item="a", examples=[Example(item="b")]), "exactly one of item, picture, vector and examples"),
        (Query(examples=[Example(item="a", user="b")]), "exactly one of item, picture, vector and user"),
        (Query(examples=[Example(item="a", relation="likes")]), "relation is 'likes'"),  # type: ignore[arg-type]
    ],
)
def test_a_query_that_says_too_little_or_too_much_is_refused(query: Query, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        query_to_proto(query)


def test_an_example_of_weight_1_leaves_it_to_the_default() -> None:
    assert not example_to_proto(Example(item="a")).HasField("weight")


def test_all_that_an_answer_tells_is_read() -> None:
    predicted = embedding_pb2.Prediction(class_name="lamp", probability=0.5)
    response = recommender_pb2.RecommendResponse(
        recommendations=[
            recommender_pb2.Recommendation(
                item={"id": "a"},
                score=0.5,
                probability=0.25,
                group=catalog_pb2.AttributeValue(int_value=7),
                explanation=recommender_pb2.Explanation(
                    contributions=[
                        {"example": 0, "share": 0.5, "similarity": 0.0, "picture_id": "p", "probability": 0.25},
                        {"example": 1, "share": 0.0, "percentile": 0.5},
                    ],
                    category_predicted=predicted,
                ),
            ),
            recommender_pb2.Recommendation(item={"id": "b"}),
        ],
        metric=embedding_pb2.METRIC_COSINE,
        next_page_token="more",
        searches=[
            {"space": "visual", "fingerprint": "f", "metric": 1, "candidates_examined": 3, "examples": [0, 1]},
        ],
        examples=[
            recommender_pb2.ExampleExplanation(
                space="pair_source",
                target_space="pair_target",
                weight=-1,
                classifications=[embedding_pb2.Classification(output="kind", predictions=[predicted])],
                category_unknown=True,
            )
        ],
    )
    answer = recommendations_from_proto(response)
    first, second = answer
    assert (first.probability, first.group, second.probability, second.group) == (0.25, 7, None, None)
    assert first.explanation == Explanation(
        (
            Contribution(0, 0.5, similarity=0.0, picture_id="p", probability=0.25),
            Contribution(1, 0.0, percentile=0.5),
        ),
        Prediction("lamp", 0.5),
    )
    assert second.explanation is None
    assert answer.next_page_token == "more"
    assert answer.searches == (SpaceSearch("visual", "f", Metric.COSINE, SearchPlan("scan"), 3, (0, 1)),)
    assert answer.examples == (
        ExampleExplanation("pair_source", "pair_target", -1, {"kind": Prediction("lamp", 0.5)}, True),
    )
