"""What the parts of `CatalogService` share. It is one service of many RPCs, and each file holds those of one noun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from twinset.v1 import catalog_pb2_grpc
from twinset_server.embedding import Pictures
from twinset_server.ingest import Ingest
from twinset_server.ports import Catalog
from twinset_server.rpc.write_streams import Answer, Element, Elements, write_stream

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class CatalogPart(catalog_pb2_grpc.CatalogServiceServicer):
    """Some RPCs of the service; `rpc/catalog.py` puts the parts together."""

    def __init__(self, catalog: Catalog, pictures: Pictures, ingest: Ingest, stopping: asyncio.Event) -> None:
        """Answer from `catalog`, change it through `ingest`, and end streams once `stopping` is set.

        `pictures` tells of the model.
        """
        self._catalog = catalog
        self._pictures = pictures
        self._ingest = ingest
        self._stopping = stopping

    def _written(
        self, requests: AsyncIterator[Any], elements: Elements[Element], context: Context
    ) -> AsyncIterator[Answer]:
        """Return what becomes of each message; see `write_stream`."""
        return write_stream(requests, elements, context, ingest=self._ingest, stopping=self._stopping)
