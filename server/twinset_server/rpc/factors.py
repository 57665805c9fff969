"""Factors of users and items: imported, listed, switched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import numpy as np

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import FactorGeneration, FactorItems, FactorRows, FactorsHeader, FactorUsers, Float32Array
from twinset_server.errors import BadVector, InvalidRequest
from twinset_server.rpc import convert
from twinset_server.rpc.catalog_part import CatalogPart, Context
from twinset_server.rpc.streams import check_running


class Factors(CatalogPart):
    """RPCs about the space of taste."""

    async def ImportFactors(  # noqa: N802
        self, requests: AsyncIterator[catalog_pb2.ImportFactorsRequest], context: Context
    ) -> AsyncIterator[catalog_pb2.ImportFactorsResponse]:
        """See the proto."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("request") != "header":
            raise InvalidRequest("header", "must come first")
        header = _header(first.header)

        async def rows() -> AsyncIterator[FactorRows]:
            async for request in requests:
                check_running(self._stopping)
                yield _rows(request, header.dimension)

        generation = await self._catalog.import_factors(header, rows())
        yield catalog_pb2.ImportFactorsResponse(generation=_generation(generation))

    async def ListFactors(  # noqa: N802
        self, request: catalog_pb2.ListFactorsRequest, context: Context
    ) -> catalog_pb2.ListFactorsResponse:
        """See the proto."""
        found = await self._catalog.factor_generations()
        return catalog_pb2.ListFactorsResponse(generations=map(_generation, found))

    async def ActivateFactors(  # noqa: N802
        self, request: catalog_pb2.ActivateFactorsRequest, context: Context
    ) -> catalog_pb2.ActivateFactorsResponse:
        """See the proto."""
        if request.number < 0:
            raise InvalidRequest("number", f"is {request.number}, 0 or more needed")
        found = await self._catalog.activate_factors(request.number)
        return catalog_pb2.ActivateFactorsResponse(generation=_generation(found))


def _header(message: catalog_pb2.FactorsHeader) -> FactorsHeader:
    start = _matrix("header.fold_in_start", message.fold_in_start, 1, message.dimension - 1)[0]
    header = FactorsHeader(
        fingerprint=message.fingerprint,
        dimension=message.dimension,
        items=message.item_count,
        users=message.user_count,
        temperature=message.temperature,
        start=start,
        liked_from=message.liked_from if message.HasField("liked_from") else None,
        interactions_through=message.interactions_through,
    )
    limits.check_factors(header)
    return header


def _rows(message: catalog_pb2.ImportFactorsRequest, dimension: int) -> FactorRows:
    match message.WhichOneof("request"):
        case "items":
            items = message.items
            count = _checked_ids("items.ids", items.ids)
            return FactorItems(
                list(items.ids),
                _matrix("items.factors", items.factors, count, dimension),
                _matrix("items.fold_in_liked", items.fold_in_liked, count, dimension - 1),
                _matrix("items.fold_in_known", items.fold_in_known, count, dimension - 1),
            )
        case "users":
            count = _checked_ids("users.ids", message.users.ids)
            factors = _matrix("users.factors", message.users.factors, count, dimension)
            return FactorUsers(list(message.users.ids), factors)
        case _:
            raise InvalidRequest("request", "is neither items nor users: the header comes once")


def _checked_ids(field: str, ids: Sequence[str]) -> int:
    limits.check_count(field, ids, limits.MAX_FACTORS_PER_MESSAGE, least=1)
    limits.check_ids(field, ids)
    return len(ids)


def _matrix(field: str, content: bytes, rows: int, columns: int) -> Float32Array:
    if columns < 1 or len(content) != 4 * rows * columns:
        raise BadVector(
            field, f"takes {len(content)} bytes, {rows} rows of {columns} float32 take {4 * rows * columns}"
        )
    values = np.frombuffer(content, "<f4").reshape(rows, columns)
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise BadVector(field, f"row {bad} has a component that is not a finite number")
    return values


def _generation(found: FactorGeneration) -> catalog_pb2.FactorGeneration:
    return catalog_pb2.FactorGeneration(
        number=found.number,
        fingerprint=found.fingerprint,
        dimension=found.dimension,
        item_count=found.items,
        user_count=found.users,
        liked_from=found.liked_from,
        interactions_through=found.interactions_through,
        import_time=convert.timestamp(found.imported),
        active=found.active,
    )
