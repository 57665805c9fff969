"""What a server holds, read through its calls; and whether its index agrees with that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from faults import content
from faults.ledger import State, Stored
from twinset.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2, recommender_pb2_grpc

VISUAL = "visual"


@dataclass(slots=True)
class Reading:
    """A reader that remembers how far it has read the interactions."""

    database: Path
    stored: Stored = field(default_factory=Stored)
    vectors: dict[str, int] = field(default_factory=dict)
    _sequence: int = 0

    async def read(self, channel: grpc.aio.Channel) -> list[str]:
        """Read all items, users and new interactions into `stored`; return what doesn't fit together within them."""
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)
        problems, items, pictures, self.vectors = [], {}, 0, {}
        async for response in stub.ExportItems(catalog_pb2.ExportItemsRequest(view=catalog_pb2.ITEM_VIEW_FULL)):
            for item in response.items:
                items[item.id], found = _judged(item)
                problems += found
                pictures += len(item.pictures)
                for vector in item.vectors:
                    self.vectors[vector.space] = self.vectors.get(vector.space, 0) + 1
        interactions = list(self.stored.interactions)
        request = catalog_pb2.ExportInteractionsRequest(after_sequence=self._sequence)
        async for response in stub.ExportInteractions(request):
            interactions += [int(one.weight) for one in response.interactions]
            self._sequence = response.interactions[-1].sequence
        self.stored = Stored(items, self._users(), interactions)
        return problems + await self._miscounted(stub, pictures)

    async def _miscounted(self, stub: Any, pictures: int) -> list[str]:
        status = await stub.GetCatalog(catalog_pb2.GetCatalogRequest())
        counted = {
            "items": (status.item_count, len(self.stored.items)),
            "pictures": (status.picture_count, pictures),
            "users": (status.user_count, len(self.stored.users)),
            "interactions": (status.interaction_count, len(self.stored.interactions)),
            **{f"vectors of {one.name}": (one.vector_count, self.vectors.get(one.name, 0)) for one in status.spaces},
        }
        return [f"{name}: {said} counted, {true} there" for name, (said, true) in counted.items() if said != true]

    def _users(self) -> dict[str, int]:
        # No call reads users yet.
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT id, attributes FROM users").fetchall()
        return {name: int(json.loads(attributes)["version"]) for name, attributes in rows}


async def unfound(channel: grpc.aio.Channel, items: Iterable[tuple[str, State]]) -> list[str]:
    """Return which items a search by their own vector doesn't find first, at distance 0."""
    stub = recommender_pb2_grpc.RecommenderServiceStub(channel)

    async def found(name: str, version: int) -> str | None:
        request = recommender_pb2.RecommendRequest(k=1, space=content.SPACE)
        example = request.examples.add()
        example.vector.space = content.SPACE
        example.vector.values = content.vector(name, version).tobytes()
        response = await stub.Recommend(request)
        nearest = [(one.item.id, one.distance) for one in response.recommendations]
        if nearest and nearest[0][0] == name and nearest[0][1] < 1e-6:
            return None
        return f"item {name} at version {version} is not found: {nearest}"

    results = await asyncio.gather(*(found(name, version) for name, (version, _) in items))
    return [problem for problem in results if problem is not None]


async def unreadable(channel: grpc.aio.Channel, items: Iterable[tuple[str, State]]) -> list[str]:
    """Return which items' pictures can't be read as they were put."""
    stub, problems = catalog_pb2_grpc.CatalogServiceStub(channel), []
    for name, (version, _) in items:
        if content.has_picture(version):
            chunks = stub.GetPicture(catalog_pb2.GetPictureRequest(item_id=name))
            try:
                read = b"".join([chunk.chunk async for chunk in chunks])
            except grpc.aio.AioRpcError as error:
                problems.append(f"picture of {name}: {error.details()}")
                continue
            if read != content.picture(name, version):
                problems.append(f"picture of {name} is another than was put")
    return problems


def _judged(item: Any) -> tuple[State, list[str]]:
    """Return the item's state, and what of it is of another version."""
    version, price = item.attributes["version"].int_value, 0
    if "price" in item.attributes:
        price = item.attributes["price"].int_value
    own = [np.frombuffer(one.values, "<f4") for one in item.vectors if one.space == content.SPACE]
    fits = (
        item.title == content.title(item.id, version)
        and len(own) == 1
        and np.allclose(own[0], content.vector(item.id, version), atol=1e-6)
        and len(item.pictures) == content.has_picture(version)
    )
    return (version, price), [] if fits else [f"item {item.id} at version {version} holds parts of another"]
