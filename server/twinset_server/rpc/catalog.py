"""`CatalogService`, put together from its parts."""

from __future__ import annotations

import twinset
from twinset.v1 import catalog_pb2
from twinset_server.errors import EmbedderUnavailable
from twinset_server.rpc import convert
from twinset_server.rpc.catalog_part import Context
from twinset_server.rpc.factors import Factors
from twinset_server.rpc.feeds import Feeds
from twinset_server.rpc.interactions import Interactions
from twinset_server.rpc.item_reads import ItemReads
from twinset_server.rpc.item_writes import ItemWrites
from twinset_server.rpc.users import Users


class CatalogServicer(ItemReads, ItemWrites, Feeds, Interactions, Users, Factors):
    """Answers from the catalogue, and changes it."""

    async def GetCatalog(  # noqa: N802
        self, request: catalog_pb2.GetCatalogRequest, context: Context
    ) -> catalog_pb2.GetCatalogResponse:
        """See the proto."""
        try:
            contract = self._pictures.now.embedder.contract
        except EmbedderUnavailable:
            contract = None  # Triton runs elsewhere, and the catalogue can be told all the same
        return convert.catalog_status(await self._catalog.status(), twinset.__version__, contract)
