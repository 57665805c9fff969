"""Sides to vectors: items from the catalogue, pictures through the model, vectors as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from twinset.contract import ModelContract
from twinset.known_answer import UNKNOWN_CATEGORY
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_server import limits
from twinset_server.compatibility.sides import Numbers, PictureSide, ReadSides, Sides, SideVectors, VectorSide
from twinset_server.domain import Float32Array, Space
from twinset_server.embedding import PictureEmbedder, Pictures
from twinset_server.errors import InvalidRequest, ItemNotFound, NoVector, SpaceMismatch, TwinsetError
from twinset_server.pair_model import pair_model
from twinset_server.ports import Catalog, CatalogState
from twinset_server.scoring import admit

_Marks = NDArray[np.bool_]

_Vectors = Mapping[str, Float32Array]
"""What a side that is no item has, by space."""


class SideReader:
    """Reads sides."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        self._catalog = catalog
        self._pictures = pictures

    async def read(self, sides: Sides, sources: Numbers, targets: Numbers, *, timeout_s: float) -> ReadSides:
        """Return the vectors of sides, and what befell those that have none where one is needed.

        Args:
            sides: the sides.
            sources: numbers of those that come first in a pair.
            targets: numbers of those that come second.
            timeout_s: time left of the caller's deadline.
        Raises:
            NoPairModel, FingerprintMismatch: no model compares them.
            EmbedderUnavailable: the model isn't known yet.
        """
        state = await self._catalog.state()
        # Of the state's own model, whichever serves by now.
        pictures = self._pictures.of(state.spaces)
        contract = pictures.embedder.contract
        model = pair_model(contract, state.spaces)
        spaces = {PAIR_SOURCE: model.source, PAIR_TARGET: model.target}
        needed = {name: _marked(numbers, len(sides)) for name, numbers in zip(spaces, (sources, targets), strict=True)}
        others, failed = await self._others(sides, spaces, needed, pictures, timeout_s)
        items = len(sides.item_ids)
        stored = await asyncio.to_thread(_item_vectors, state, spaces.values(), sides, needed)
        tables = {}
        for name, table in stored.items():
            tables[name] = table.with_others([others.get(number, {}).get(name) for number in range(items, len(sides))])
            lacking = np.flatnonzero(needed[name][:items] & (table.counts == 0)).tolist()
            failed.update(await self._lacking(sides, lacking, name))
        unknown = [number for number, side in enumerate(sides.others, items) if _is_unknown(contract, side.category)]
        return ReadSides(model, state, tables[PAIR_SOURCE], tables[PAIR_TARGET], failed, unknown)

    async def _others(
        self,
        sides: Sides,
        spaces: Mapping[str, Space],
        needed: Mapping[str, _Marks],
        pictures: PictureEmbedder,
        timeout_s: float,
    ) -> tuple[dict[int, _Vectors], dict[int, TwinsetError]]:
        """Return by number what pictures and vectors have where it is needed, and what befell those that failed."""
        others: dict[int, _Vectors] = {}
        failed: dict[int, TwinsetError] = {}
        embedded = await self._embedded(sides, needed, pictures, timeout_s)
        for number, side in enumerate(sides.others, len(sides.item_ids)):
            wanted = [space for name, space in spaces.items() if needed[name][number]]
            try:
                if isinstance(side, VectorSide):
                    others[number] = _admitted(side, wanted, sides.field(number))
                elif number in embedded:
                    others[number] = _raised(embedded[number], sides.field(number))
            except TwinsetError as error:
                failed[number] = error
        return others, failed

    async def _embedded(
        self, sides: Sides, needed: Mapping[str, _Marks], pictures: PictureEmbedder, timeout_s: float
    ) -> dict[int, _Vectors | TwinsetError]:
        """Return what the model makes of the pictures that are needed, or the error of each, by number."""
        items = len(sides.item_ids)
        asked = {
            number: side
            for number, side in enumerate(sides.others, items)
            if isinstance(side, PictureSide) and any(mark[number] for mark in needed.values())
        }
        if not asked:
            return {}
        contract = pictures.embedder.contract
        outputs = {space.output: space.name for space in contract.spaces if space.name in needed}
        results = await pictures.embed(
            [side.content for side in asked.values()],
            tuple(outputs),
            timeout_s=timeout_s,
            urgent=True,
            categories=[contract.category_index(side.category) or UNKNOWN_CATEGORY for side in asked.values()],
        )
        return {
            number: result
            if isinstance(result, TwinsetError)
            else {space: result[output] for output, space in outputs.items()}
            for number, result in zip(asked, results, strict=True)
        }

    async def _lacking(self, sides: Sides, numbers: list[int], space: str) -> dict[int, TwinsetError]:
        """Return why each of these items has no vector in the space."""
        found: dict[int, TwinsetError] = {}
        for number in numbers:
            item_id = sides.item_ids[number]
            try:
                limits.check_id(sides.field(number), item_id)
            except InvalidRequest as error:
                found[number] = error
        sought = [number for number in numbers if number not in found]
        stored = await self._catalog.get([sides.item_ids[number] for number in sought], vectors=False)
        for number, item in zip(sought, stored, strict=True):
            item_id = sides.item_ids[number]
            found[number] = (
                ItemNotFound(item_id)
                if item is None
                else NoVector(
                    item_id,
                    f"item {item_id!r} has no vector in space {space!r}: put it again with a picture",
                )
            )
        return found


def _item_vectors(
    state: CatalogState, spaces: Iterable[Space], sides: Sides, needed: Mapping[str, _Marks]
) -> dict[str, SideVectors]:
    """Return by space the vectors of items, of none where none is needed."""
    items = len(sides.item_ids)
    tables = {}
    for space in spaces:
        if needed[space.name][:items].any():
            tables[space.name] = SideVectors.of_items(state.vectors(space.name, sides.item_ids), items)
        else:
            tables[space.name] = SideVectors.none(space.dimension, items)
    return tables


def _admitted(side: VectorSide, wanted: list[Space], field: str) -> _Vectors:
    if len(wanted) > 1:
        raise InvalidRequest(
            field,
            f"is a vector of {side.vector.space!r}, and each side of a pair has a space of its own: give an item or a "
            "picture, or ask for one direction",
        )
    for space in wanted:
        if side.vector.space != space.name:
            raise SpaceMismatch(
                f"{field}.vector.space",
                f"{field}: the vector lives in the space {side.vector.space!r}, and this side of a pair in "
                f"{space.name!r}",
            )
        return {space.name: admit(side.vector, space, f"{field}.vector")}
    return {}


def _raised(result: _Vectors | TwinsetError, field: str) -> _Vectors:
    if isinstance(result, InvalidRequest):
        raise result.at(f"{field}.picture")
    if isinstance(result, TwinsetError):
        raise result
    return result


def _is_unknown(contract: ModelContract, category: str) -> bool:
    return bool(contract.categories) and not contract.category_index(category)


def _marked(numbers: Numbers, count: int) -> _Marks:
    marks = np.zeros(count, np.bool_)
    marks[numbers] = True
    return marks
