"""From examples to vectors: what an item, a picture, a vector or a user is in the space where it is compared."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from twinset.contract import ModelContract
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_server.domain import TASTE, Float32Array, Prediction, Space
from twinset_server.embedding import Pictures
from twinset_server.errors import (
    InvalidRequest,
    NoModel,
    SpaceMismatch,
    SpaceNotFound,
    TwinsetError,
    UserHasNoVector,
)
from twinset_server.ports import Catalog
from twinset_server.predictions import likeliest
from twinset_server.recommend.combining import Combined, combine
from twinset_server.recommend.request import (
    Example,
    ItemExample,
    PictureExample,
    Relation,
    Request,
    UserExample,
    VectorExample,
)
from twinset_server.scoring import admit

_NONE: Mapping[str, Prediction] = MappingProxyType({})


class Compared(NamedTuple):
    """An example as it is compared.

    Attributes:
        number: its place among the examples of the request.
        example: what was given.
        source: the space that its vector is of.
        space: the space that it is compared in; another one where it is a side of a pair.
        values: `[D]` float32, of unit length where the metric is cosine.
        predictions: of a picture by output of classes the likeliest; empty where nobody asked.
        category_unknown: whether a picture was embedded without a category, by a model that takes one.
    """

    number: int
    example: Example
    source: Space
    space: Space
    values: Float32Array
    predictions: Mapping[str, Prediction] = _NONE
    category_unknown: bool = False


def combined_of(examples: Sequence[Compared]) -> Combined | None:
    """Return the one search for examples that are compared in one space; None where no search finds the best items.

    Raises:
        InvalidRequest: they cancel each other out.
    """
    if len(examples) == 1 and examples[0].example.weight > 0:
        # The usual case, and the shortest way.
        return Combined(examples[0].values, examples[0].space.metric)
    weights = [one.example.weight for one in examples]
    return combine([one.values for one in examples], weights, examples[0].space.metric)


@dataclass(frozen=True, slots=True)
class _Embedded:
    values: Float32Array
    predictions: Mapping[str, Prediction]
    category_unknown: bool


class ExampleVectors:
    """Finds the vectors of examples."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        self._catalog = catalog
        self._pictures = pictures

    async def compared(self, request: Request, *, timeout_s: float) -> list[Compared]:
        """Return each example with its vector.

        Raises:
            InvalidRequest: a picture or a vector is bad.
            SpaceNotFound, ItemNotFound, UserNotFound: nothing of that name.
            FingerprintMismatch, SpaceMismatch, NoVector, UserHasNoVector, NoModel: an example can't be compared.
            EmbedderUnavailable: an example is a picture, and Triton is unreachable.
        """
        examples = request.examples
        if len(examples) == 1:
            return [await self._one(0, request, timeout_s)]
        places = range(len(examples))
        # Pictures that come together are embedded together.
        found = await asyncio.gather(
            *(self._one(place, request, timeout_s) for place in places), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one for one in found if isinstance(one, Compared)]

    def of_vector(self, number: int, example: Example, searched: str) -> Compared:
        """Return an example that is a vector, which waits for nothing; `searched` is the space of the request.

        Raises:
            BadVector, FingerprintMismatch: the vector is bad.
            SpaceNotFound, SpaceMismatch: it can't be compared.
        """
        assert isinstance(example.subject, VectorExample)  # noqa: S101 - for the type checker
        source, space = self._spaces_of(example, searched)
        vector = example.subject.vector
        if vector.space != source.name:
            raise SpaceMismatch(
                f"examples[{number}].vector.space",
                f"the vector lives in the space {vector.space!r}, but {source.name!r} is "
                + ("searched" if source is space else f"what {example.relation.name} compares"),
            )
        return Compared(number, example, source, space, admit(vector, source, f"examples[{number}].vector"))

    async def _one(self, number: int, request: Request, timeout_s: float) -> Compared:
        example = request.examples[number]
        source, space = self._spaces_of(example, request.space)
        name = f"examples[{number}]"
        match example.subject:
            case VectorExample():
                return self.of_vector(number, example, request.space)
            case ItemExample(item_id):
                return Compared(number, example, source, space, await self._catalog.vector_of(item_id, source.name))
            case UserExample(user_id):
                return Compared(number, example, source, space, await self._of_user(user_id, source))
            case PictureExample() as picture:
                made = await self._embed(picture, source, name, timeout_s, classes=request.explain)
                return Compared(number, example, source, space, made.values, made.predictions, made.category_unknown)

    def _spaces_of(self, example: Example, searched: str) -> tuple[Space, Space]:
        """Return the space that the example's vector is of, and the one that it is compared in."""
        match example.relation:
            case Relation.SIMILAR_TO:
                own = self._space(example.space or searched)
                return own, own
            case Relation.LIKED_BY:
                own = self._space(example.space or TASTE)
                return own, own
            case Relation.COMPLETES:
                source, target = self._space(PAIR_SOURCE), self._space(PAIR_TARGET)
            case Relation.COMPLETED_BY:
                source, target = self._space(PAIR_TARGET), self._space(PAIR_SOURCE)
        if (source.dimension, source.metric) != (target.dimension, target.metric):
            raise SpaceMismatch(target.name, f"{source.name!r} and {target.name!r} are no two sides of one model")
        return source, target

    def _space(self, name: str) -> Space:
        spaces = self._catalog.spaces()
        space = spaces.get(name)
        if space is None:
            raise SpaceNotFound(name, spaces)
        return space

    async def _of_user(self, user_id: str, space: Space) -> Float32Array:
        if space.generation is not None:
            return await self._factors(user_id, space, space.generation)
        user = await self._catalog.user(user_id)
        vector = next((one for one in user.vectors if one.space == space.name), None)
        if vector is None:
            raise UserHasNoVector(
                user_id, f"user {user_id!r} has no vector in the space {space.name!r}: put one with PutUsers"
            )
        return np.asarray(vector.values, np.float32)

    async def _factors(self, user_id: str, space: Space, generation: int) -> Float32Array:
        taste = await self._catalog.taste(user_id, generation)
        if taste.factors is None:
            await self._catalog.user_data(user_id)  # of whom nothing is stored, that is what to say
            raise UserHasNoVector(
                user_id,
                f"user {user_id!r} has no factors in generation {generation} of {space.name!r}: RankForUser makes some "
                "from what they did",
            )
        return taste.factors

    async def _embed(
        self, picture: PictureExample, space: Space, name: str, timeout_s: float, *, classes: bool
    ) -> _Embedded:
        pictures = self._pictures.now
        contract = pictures.embedder.contract
        output = _output_of(contract, space)
        category = contract.category_index(picture.category)
        outputs = contract.class_outputs() if classes else {}
        (result,) = await pictures.embed(
            [picture.content],
            list({output: None, **outputs}),
            timeout_s=timeout_s,
            urgent=True,
            categories=[category or 0],
        )
        if isinstance(result, InvalidRequest):
            raise result.at(f"{name}.picture")
        if isinstance(result, TwinsetError):
            raise result
        predictions = {one: likeliest(result[one], names, 1)[0] for one, names in sorted(outputs.items())}
        return _Embedded(result[output], predictions, contract.takes_category([output]) and not category)


def _output_of(contract: ModelContract, space: Space) -> str:
    """Return the model's output that fills `space`."""
    filled = contract.space(space.name)
    if filled is None:
        raise NoModel(space.name, f"no model embeds pictures into the space {space.name!r}: send a vector")
    fingerprint = contract.fingerprint_of(filled.output)
    if fingerprint != space.fingerprint:
        raise SpaceMismatch(
            space.name,
            f"the serving model's fingerprint of {space.name!r} is {fingerprint}, but the space holds vectors of "
            f"{space.fingerprint}",
        )
    return filled.output


def excluded_by(examples: Sequence[Example]) -> list[str]:
    """Return the ids of the items that are examples themselves."""
    return [one.subject.item_id for one in examples if isinstance(one.subject, ItemExample)]
