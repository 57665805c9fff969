"""What recommendations are asked by, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from twinset.contract import Metric
from twinset.embeddings import Prediction
from twinset.errors import TwinsetError
from twinset.items import Attribute, Item, Vector, View
from twinset.v1 import filter_pb2

Relation = Literal["similar_to", "completes", "completed_by", "liked_by"]
"""What an example is to the items asked for: they look like it; they go with it, as targets of it or as sources; or
they are to a user's liking."""


@dataclass(frozen=True, slots=True)
class Example:
    """Something to go by: exactly one of `item`, `picture`, `vector` and `user`.

    Attributes:
        item: a stored item's id; it is never an answer.
        picture: an encoded picture.
        vector: a vector.
        user: a stored user's id.
        relation: what it is to the items asked for; None means `liked_by` for a user, and else `similar_to`.
        weight: how much it counts beside the others; below 0, away from it.
        space: where it is compared, if not where the query or its relation says.
        category: of what a picture shows, for a model that embeds by category; empty where it isn't known.
    """

    item: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    vector: Vector | None = None
    user: str | None = None
    relation: Relation | None = None
    weight: float = 1.0
    space: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What to recommend by: exactly one of `item`, `picture`, `vector` and `examples`; see `Client.recommend`."""

    item: str | None = None
    picture: bytes | None = field(default=None, repr=False)
    vector: Vector | None = None
    k: int = 10
    exclude: Sequence[str] = ()
    space: str = ""
    view: View = "id"
    filter: str | filter_pb2.Filter = ""
    facets: Mapping[str, int] | Sequence[str] = ()
    exact: bool = False
    target_recall: float | None = None
    examples: Sequence[Example] = ()
    target_categories: Sequence[str] = ()
    min_score: float | None = None
    mmr_lambda: float | None = None
    group_by: str = ""
    group_size: int = 1
    max_similarity: float | None = None
    explain: bool = False
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one example has to do with one item.

    Attributes:
        example: its place among the examples.
        share: what it adds to the score; the shares of an item add up to that.
        similarity: how similar they are, by the space's metric; None where the item has no vector there.
        percentile: with examples of several spaces, the share of the space's vectors that are less similar; this is
            what `share` counts.
        picture_id: the item's picture that was compared.
        nearest_picture_id: the item's picture that is most similar to the example.
        nearest_similarity: how similar that one is.
        probability: that the pair goes together, where the example is a side of one.
    """

    example: int
    share: float
    similarity: float | None = None
    percentile: float | None = None
    picture_id: str = ""
    nearest_picture_id: str = ""
    nearest_similarity: float | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an item was recommended.

    Attributes:
        contributions: one per example, in their order.
        category_predicted: the class that the model predicted for the item; None where its caller gave it a category.
    """

    contributions: tuple[Contribution, ...]
    category_predicted: Prediction | None = None


@dataclass(frozen=True, slots=True)
class ExampleExplanation:
    """What became of an example.

    Attributes:
        space: the space that its vector is of.
        target_space: the space that it was compared in.
        weight: how much it counted.
        predictions: of a picture, the likeliest class by the model's output.
        category_unknown: whether a picture was embedded without a category by a model that takes one.
    """

    space: str
    target_space: str
    weight: float
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A found item.

    Attributes:
        item: the item, as far as the view goes.
        score: higher is better.
        distance: lower is better; 0 where the examples don't combine to one point.
        picture_id: the picture that it was found by; empty where a put vector found it.
        probability: that it goes together with the example that it completes, or that completes it; else None.
        group: its value of the field that was grouped by.
        explanation: why it was recommended; None unless it was asked for.
    """

    item: Item
    score: float
    distance: float
    picture_id: str = ""
    probability: float | None = None
    group: Attribute | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Facet:
    """How many of the items that match have which value of a field.

    Attributes:
        counts: values with their counts, the most frequent first.
        distinct_count: how many different values there are, those in `counts` included.
        missing_count: how many items don't have the field.
    """

    counts: tuple[tuple[Attribute, int], ...]
    distinct_count: int
    missing_count: int


Method = Literal["scan", "walk", "gather", "partitions"]
"""How candidates were chosen: all of them, by a graph, those that match a filter, or by the nearest parts."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The way to an answer.

    Attributes:
        method: how candidates were chosen; what is newer than the index is compared in any case.
        width: rows that a walk kept in sight, or parts compared; 0 where all was compared.
        expected_recall: what searches as wide found of the true nearest when the index was calibrated; None where that
            isn't known.
    """

    method: Method
    width: int = 0
    expected_recall: float | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What became of one query: its `recommendations`, unless `error` says why there are none."""

    query: Query
    recommendations: Recommendations | None = None
    error: TwinsetError | None = None


@dataclass(frozen=True, slots=True)
class SpaceSearch:
    """One of the searches behind an answer.

    Attributes:
        space: the space searched.
        fingerprint: the space's.
        metric: how it compares vectors.
        plan: how its candidates were chosen.
        candidates_examined: vectors compared.
        examples: places of the examples that are compared there.
    """

    space: str
    fingerprint: str
    metric: Metric
    plan: SearchPlan
    candidates_examined: int
    examples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Recommendations, best first.

    Attributes:
        results: the recommendations; the object itself can be iterated and indexed like them.
        exact: True where every candidate was compared.
        candidates_examined: vectors compared with the example.
        space: the space searched.
        fingerprint: the space's fingerprint.
        metric: how the space compares vectors.
        sequence: every change up to it counts.
        facets: by field, those asked for: over all items that match, the example and excluded ones too.
        matching_count: how many items those are; None where no facets were asked for.
        plan: how the candidates were chosen.
        recommendation_id: names this answer; an interaction that it led to may name it.
        next_page_token: for the next page; empty where there is none.
        searches: one per space, where an explanation was asked for.
        examples: one per example, where an explanation was asked for.
    """

    results: tuple[Recommendation, ...]
    exact: bool
    candidates_examined: int
    space: str
    fingerprint: str
    metric: Metric
    sequence: int
    facets: Mapping[str, Facet] = field(default_factory=dict)
    matching_count: int | None = None
    plan: SearchPlan = SearchPlan("scan")
    recommendation_id: str = ""
    next_page_token: str = ""
    searches: tuple[SpaceSearch, ...] = ()
    examples: tuple[ExampleExplanation, ...] = ()

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.results)

    @overload
    def __getitem__(self, rank: int) -> Recommendation: ...

    @overload
    def __getitem__(self, rank: slice) -> tuple[Recommendation, ...]: ...

    def __getitem__(self, rank: int | slice) -> Recommendation | tuple[Recommendation, ...]:
        return self.results[rank]
