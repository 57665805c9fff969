"""What may be asked of recommendations, and what is answered.

What every call makes is a named tuple: a frozen dataclass of as many fields takes four times as long to make.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twinset_server import limits
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    VISUAL,
    Attribute,
    Expression,
    FacetRequest,
    Item,
    Prediction,
    SearchPlan,
    SearchResult,
    Space,
    Vector,
)
from twinset_server.errors import InvalidRequest
from twinset_server.filters.bounds import check_field
from twinset_server.filters.facets import check_facets


class Detail(enum.Enum):
    """How much of each found item comes along."""

    ID = enum.auto()
    BASIC = enum.auto()
    FULL = enum.auto()


class Relation(enum.Enum):
    """What an example is to the items asked for."""

    SIMILAR_TO = enum.auto()
    COMPLETES = enum.auto()
    """The example is the source of the pair."""
    COMPLETED_BY = enum.auto()
    """The example is the target of the pair."""
    LIKED_BY = enum.auto()
    """The example is a user."""

    @property
    def is_pair(self) -> bool:
        """Whether example and item are the two sides of a pair."""
        return self is Relation.COMPLETES or self is Relation.COMPLETED_BY


@dataclass(frozen=True, slots=True)
class ItemExample:
    """A stored item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class PictureExample:
    """An encoded picture, and the category of what it shows; empty where that is unknown."""

    content: bytes
    category: str = ""


class VectorExample(NamedTuple):
    """A caller's vector."""

    vector: Vector


@dataclass(frozen=True, slots=True)
class UserExample:
    """A stored user."""

    user_id: str


Subject = ItemExample | PictureExample | VectorExample | UserExample


class Example(NamedTuple):
    """Something to go by.

    Attributes:
        subject: what it is.
        relation: what it is to the items asked for.
        weight: how much it counts; below 0, away from it.
        space: where it is compared, if not where its relation says; None for that.
    """

    subject: Subject
    relation: Relation = Relation.SIMILAR_TO
    weight: float = 1.0
    space: str | None = None


@dataclass(frozen=True, slots=True)
class Grouping:
    """At most `size` items that share a value of `field`."""

    field: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Refinement:
    """What keeps an answer from being the items of the highest scores.

    Attributes:
        min_score: no item with a lower score; None for any.
        mmr_lambda: what the score counts beside being unlike the items before, 0 to 1; None for the score alone.
        group_by: how many of a kind; None for any number.
        max_similarity: no item that is as similar to one before it, or more; None for any.
    """

    min_score: float | None = None
    mmr_lambda: float | None = None
    group_by: Grouping | None = None
    max_similarity: float | None = None


PLAIN = Refinement()
"""The items of the highest scores."""


class Request(NamedTuple):
    """What is wanted of a recommendation.

    Attributes:
        examples: what to go by.
        space: where `SIMILAR_TO` compares.
        k: how many items.
        exclude: items never to return.
        detail: how much of each item comes along.
        target_recall: the share of the true nearest that is wanted; 1 means that all is compared.
        expression: which items may be returned; None for all.
        facets: fields to count the values of, over the items that match.
        refinement: what else the answer must be.
        explain: whether to tell what each example brought to each item.
        page_size: of how many items more than the id is needed at once; 0 for all.
    """

    examples: Sequence[Example]
    space: str = VISUAL
    k: int = limits.DEFAULT_K
    exclude: Sequence[str] = ()
    detail: Detail = Detail.ID
    target_recall: float = DEFAULT_TARGET_RECALL
    expression: Expression | None = None
    facets: Sequence[FacetRequest] = ()
    refinement: Refinement = PLAIN
    explain: bool = False
    page_size: int = 0


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one example has to do with one item.

    Attributes:
        share: what it adds to the score.
        similarity: the space's own, of the picture compared; None where the item has no vector in the space.
        percentile: what `share` counts where the examples are of several spaces; None elsewhere.
        picture_id: the item's picture that was compared.
        nearest_picture_id: the item's picture that is most similar to the example.
        nearest_similarity: that picture's; None as `similarity`.
        probability: that the pair goes together; None where the example is no side of one, or nothing tells.
    """

    share: float
    similarity: float | None
    percentile: float | None
    picture_id: str
    nearest_picture_id: str
    nearest_similarity: float | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class Note:
    """What is told of one found item besides where it was found.

    Attributes:
        score: the weighted sum.
        probability: as in `Contribution`, of the first example that is a side of a pair.
        group: the value of the field grouped by; None where there is none.
        contributions: one per example; empty where nobody asked.
    """

    score: float
    probability: float | None = None
    group: Attribute | None = None
    contributions: Sequence[Contribution] = ()


@dataclass(frozen=True, slots=True)
class SpaceSearch:
    """One of the searches behind an answer, and the numbers of the examples that it is for."""

    space: Space
    plan: SearchPlan
    examined: int
    examples: Sequence[int]


@dataclass(frozen=True, slots=True)
class ExampleNote:
    """What became of an example.

    Attributes:
        space: the name of its vector's.
        target: the name of that in which it was compared.
        weight: how much it counted.
        predictions: by output of classes the likeliest one of a picture.
        category_unknown: whether a picture was embedded without a category by a model that takes one.
    """

    space: str
    target: str
    weight: float
    predictions: Mapping[str, Prediction]
    category_unknown: bool


class Recommendations(NamedTuple):
    """What was found, where, and how much of each item was asked for.

    Attributes:
        space: where it was found; of several spaces that of the first example.
        result: the neighbours, best first.
        detail: how much of each item was asked for.
        notes: one for each neighbour; None where the score is that of the neighbour's distance.
        items: the stored items of the neighbours, of the first page where there are several; None where only ids were
            asked for and nothing is explained.
        searches: one per space; empty where nothing is explained.
        examples: one per example; empty where nothing is explained.
    """

    space: Space
    result: SearchResult
    detail: Detail
    notes: Sequence[Note] | None = None
    items: Mapping[str, Item] | None = None
    searches: Sequence[SpaceSearch] = ()
    examples: Sequence[ExampleNote] = ()


def check(request: Request) -> None:
    """Return if the request is within its limits.

    Raises:
        InvalidRequest: a field isn't.
    """
    limits.check_k(request.k)
    limits.check_space("space", request.space)
    limits.check_count("exclude", request.exclude, limits.MAX_EXCLUDE)
    limits.check_texts("exclude", request.exclude, limits.MAX_ID_BYTES)
    limits.check_target_recall(request.target_recall)
    check_facets("facets", request.facets)
    limits.check_count("examples", request.examples, limits.MAX_EXAMPLES, least=1)
    for number, example in enumerate(request.examples):
        _check_example(f"examples[{number}]", example)
    if request.refinement is not PLAIN:
        _check_refinement(request.refinement)
    if not 0 <= request.page_size <= request.k:
        raise InvalidRequest("page_size", f"is {request.page_size}: it is 0 to k, which is {request.k}")


def _check_example(field: str, example: Example) -> None:
    if not math.isfinite(example.weight) or not example.weight:
        raise InvalidRequest(f"{field}.weight", f"is {example.weight}: a finite number other than 0 is needed")
    subject, relation = example.subject, example.relation
    if example.space is not None:
        limits.check_space(f"{field}.space", example.space)
    if isinstance(subject, VectorExample) and relation is Relation.SIMILAR_TO:
        return
    if isinstance(subject, ItemExample):
        limits.check_id(f"{field}.item_id", subject.item_id)
    elif isinstance(subject, UserExample):
        limits.check_id(f"{field}.user_id", subject.user_id)
        if relation.is_pair:
            raise InvalidRequest(f"{field}.relation", f"is {relation.name}, which a user can't have: use LIKED_BY")
    if relation is Relation.LIKED_BY and not isinstance(subject, UserExample):
        raise InvalidRequest(f"{field}.relation", "is LIKED_BY, which needs a user: set user_id")
    if relation.is_pair and example.space is not None:
        raise InvalidRequest(f"{field}.space", f"can't be set with {relation.name}, which has spaces of its own")
    if isinstance(subject, PictureExample):
        limits.check_category(f"{field}.category", subject.category)


def _check_refinement(refinement: Refinement) -> None:
    for field, value in (("min_score", refinement.min_score), ("max_similarity", refinement.max_similarity)):
        if value is not None and not math.isfinite(value):
            raise InvalidRequest(field, f"is {value}, a finite number is needed")
    if refinement.mmr_lambda is not None and not 0 <= refinement.mmr_lambda <= 1:
        raise InvalidRequest("mmr_lambda", f"is {refinement.mmr_lambda}: it is 0 to 1")
    if (grouping := refinement.group_by) is not None:
        check_field("group_by.field", grouping.field)
        if not 1 <= grouping.size <= limits.MAX_K:
            raise InvalidRequest("group_by.size", f"is {grouping.size}, 1 to {limits.MAX_K} allowed")
