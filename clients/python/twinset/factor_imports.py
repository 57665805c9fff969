"""Factors of users and items: imported, listed, switched."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from twinset.factors import FactorFolder
from twinset.status import error_from_call
from twinset.v1 import catalog_pb2

_MESSAGE_BYTES = 1 << 20
_MOST_ROWS = 4096


@dataclass(frozen=True, slots=True)
class FactorGeneration:
    """Imported factors that a server keeps.

    Attributes:
        number: rises with each import.
        fingerprint: of the items' factors and of how users get theirs.
        dimension: components of each.
        items: how many items have factors.
        users: how many users had, when they were imported.
        liked_from: the least weight of a like; None where every act is one.
        interactions_through: the last interaction that is in them, by its sequence; 0 where it isn't known.
        imported: when.
        active: whether they fill the space `taste` now.
    """

    number: int
    fingerprint: str
    dimension: int
    items: int
    users: int
    liked_from: float | None
    interactions_through: int
    imported: datetime.datetime
    active: bool


class FactorImports:
    """The part of a client that brings factors."""

    server: str
    timeout_s: float
    _catalog: Any

    def import_factors(
        self, folder: FactorFolder, *, interactions_through: int = 0, timeout_s: float = 3600.0
    ) -> FactorGeneration:
        """Fill the server's space `taste` with the factors of a folder, and return their generation.

        Users and items switch together, once all have come; what served before is kept, see `activate_factors`.

        Args:
            folder: as `twinset.factors.open_factors` returns it; call its `check` first.
            interactions_through: the sequence of the last interaction that was trained on, as the export told it. Users
                who did something since are folded in; with 0 all are of whom the server has interactions.
            timeout_s: for all of it: an import waits for the index.

        Raises:
            FactorsError: a file of the folder is damaged.
            FailedPrecondition: something else fills `taste`, or another import is under way.
            InvalidArgument: the rows don't fit together.
        """
        try:
            requests = _requests(folder, interactions_through)
            (answer,) = self._catalog.ImportFactors(requests, timeout=timeout_s)
            return _generation(answer.generation)
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure

    def factor_generations(self) -> list[FactorGeneration]:
        """Return the generations that the server keeps: the active one, then the one to go back to."""
        try:
            found = self._catalog.ListFactors(catalog_pb2.ListFactorsRequest(), timeout=self.timeout_s)
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure
        return [_generation(one) for one in found.generations]

    def activate_factors(self, number: int = 0) -> FactorGeneration:
        """Let a kept generation serve, by default the one before, and return it; all calls switch at once.

        Raises:
            NotFound: it isn't kept.
        """
        try:
            request = catalog_pb2.ActivateFactorsRequest(number=number)
            return _generation(self._catalog.ActivateFactors(request, timeout=self.timeout_s).generation)
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure


def _requests(folder: FactorFolder, interactions_through: int) -> Iterator[catalog_pb2.ImportFactorsRequest]:
    manifest, fold_in = folder.manifest, folder.fold_in
    yield catalog_pb2.ImportFactorsRequest(
        header=catalog_pb2.FactorsHeader(
            fingerprint=manifest.fingerprint,
            dimension=manifest.dimension,
            item_count=manifest.items,
            user_count=manifest.users,
            temperature=manifest.temperature,
            fold_in_start=_bytes(fold_in.start),
            liked_from=manifest.liked_from,
            interactions_through=interactions_through,
        )
    )
    size = max(1, min(_MOST_ROWS, _MESSAGE_BYTES // (12 * manifest.dimension)))
    # Users first: the index of the items is measured by what they ask.
    for ids, rows in folder.users.batches(size):
        yield catalog_pb2.ImportFactorsRequest(users=catalog_pb2.FactorUsers(ids=ids, factors=_bytes(rows)))
    start = 0
    for ids, rows in folder.items.batches(size):
        part = slice(start, start + len(ids))
        yield catalog_pb2.ImportFactorsRequest(
            items=catalog_pb2.FactorItems(
                ids=ids,
                factors=_bytes(rows),
                fold_in_liked=_bytes(fold_in.liked[part]),
                fold_in_known=_bytes(fold_in.known[part]),
            )
        )
        start += len(ids)


def _bytes(values: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _generation(message: catalog_pb2.FactorGeneration) -> FactorGeneration:
    return FactorGeneration(
        message.number,
        message.fingerprint,
        message.dimension,
        message.item_count,
        message.user_count,
        message.liked_from if message.HasField("liked_from") else None,
        message.interactions_through,
        message.import_time.ToDatetime(datetime.UTC),
        message.active,
    )
