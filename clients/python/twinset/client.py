"""The client of a twinset server."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

import grpc

from twinset import wire, wire_changes
from twinset.batches import batches
from twinset.catalog_exports import CatalogExports
from twinset.catalog_writes import CatalogWrites
from twinset.channel import DEFAULT_SERVER, KEEPALIVE_S, open_channel
from twinset.embeddings import Embedding
from twinset.errors import NotFound
from twinset.factor_imports import FactorImports
from twinset.items import Catalog, Item, Picture, UserData, View
from twinset.lasting_stream import LastingStream
from twinset.ranking import Rankings
from twinset.recommending import Recommending
from twinset.scoring import Scoring
from twinset.status import error_from_call, error_from_status
from twinset.tls import Tls
from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    recommender_pb2_grpc,
)

_EMBED_AT_ONCE = 16
"""What many outputs of many components leave room for in an answer of 4 MiB."""
_PAGE_SIZES: dict[View, int] = {"id": 1000, "basic": 1000, "full": 16}


class Client(CatalogWrites, CatalogExports, Recommending, Scoring, FactorImports, Rankings):
    """A connection to a twinset server; a context manager.

    ```python
    with Client("localhost:50051") as client:
        for found in client.recommend(item="shoes/1", k=5):
            print(found.item.id, found.score)
    ```

    It may be shared by threads. Every method raises a `TwinsetError` where the call fails: `Unavailable` where no
    server can be reached, `DeadlineExceeded` where it takes longer than `timeout_s`, and those that its `Raises` names.
    Reads are tried up to four times while the server is unavailable, all within `timeout_s`; streams of them go on
    behind what was answered. Writes are tried again
    too: each message has a name of its own, under which the server makes it once. A call that a busy server refuses is
    made again when the server said, up to twelve times, within `timeout_s`.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout_s: float = 30.0,
        keepalive_s: float = KEEPALIVE_S,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        """Prepare the connection; it opens with the first call.

        Args:
            server: `host:port`.
            timeout_s: longest wait for a call, and in a stream for one answer but that to a feed's commit.
            keepalive_s: after so long a silence the server's machine is asked for a sign of life, and given up after as
                long again. A server takes less than 10 for abuse.
            tls: how the connection is encrypted; None sends plaintext, a token included.
            token: for a server that asks for one.

        Raises:
            ValueError: `server` isn't of the form `host:port`, a time isn't positive, a file of `tls` can't be read, or
                the token is none.
        """
        for name, seconds in (("timeout_s", timeout_s), ("keepalive_s", keepalive_s)):
            if not seconds > 0:
                raise ValueError(f"{name} is {seconds}, expected a positive number of seconds")
        self._channel = open_channel(server, keepalive_s=keepalive_s, tls=tls, token=token)
        self.server = server
        self.timeout_s = timeout_s
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail."""
        self._channel.close()

    @property
    def connections(self) -> Counter[str]:
        """How many connections are open to each worker of the server, by its name; see `twinset.connections`."""
        return self._channel.leads

    def embed(
        self,
        pictures: Sequence[bytes],
        outputs: Sequence[str] = (),
        *,
        predictions: int = 0,
        categories: Sequence[str] = (),
    ) -> list[Embedding]:
        """Return what the model makes of each picture, in order; one that can't be decoded carries its error.

        Args:
            pictures: encoded JPEG, PNG or WebP, any number.
            outputs: names of the model's outputs; none means those that fill a space.
            predictions: how many of the likeliest classes to tell for each output that has some, 0 to 100.
            categories: those of the pictures' items, one each, for a model that takes them; empty means unknown.

        Raises:
            ValueError: there are categories, and not one a picture.
            InvalidArgument: the model lacks an output, or a picture doesn't fit into a message.
        """
        if categories and len(categories) != len(pictures):
            raise ValueError(f"embed got {len(categories)} categories for {len(pictures)} pictures: give one each")
        embeddings: list[Embedding] = []
        for batch in batches(pictures, size=len, most=_EMBED_AT_ONCE, name=_picture_name):
            request = embedding_pb2.EmbedRequest(
                pictures=batch,
                outputs=outputs,
                predictions=predictions,
                categories=categories[len(embeddings) : len(embeddings) + len(batch)],
            )
            with self._errors():
                response = self._embedding.Embed(request, timeout=self.timeout_s)
            embeddings += [wire.embedding_from_proto(result, response.model) for result in response.results]
        return embeddings

    def stream_embed(
        self, pictures: Iterable[bytes], outputs: Sequence[str] = (), *, batch: int = 16, predictions: int = 0
    ) -> Iterator[Embedding]:
        """Return what the model makes of each picture, as they come and in order; the fastest way for many.

        Args:
            pictures: encoded JPEG, PNG or WebP, drawn in another thread as the server takes them.
            outputs: names of the model's outputs; none means those that fill a space.
            batch: pictures in a message, 1 to 256. A message is sent when it is full: take 1 where pictures come
                slowly and each answer matters at once.
            predictions: as in `embed`.

        Raises:
            InvalidArgument: the model lacks an output, or a picture doesn't fit into a message.
        """

        def requests() -> Iterator[embedding_pb2.StreamEmbedRequest]:
            for group in batches(pictures, size=len, most=batch, name=_picture_name):
                yield embedding_pb2.StreamEmbedRequest(pictures=group)

        def opening(request: embedding_pb2.StreamEmbedRequest) -> embedding_pb2.StreamEmbedRequest:
            return embedding_pb2.StreamEmbedRequest(pictures=request.pictures, outputs=outputs, predictions=predictions)

        stream = LastingStream(
            self._embedding.StreamEmbed, requests(), server=self.server, timeout_s=self.timeout_s, opening=opening
        )
        for response in stream:
            for result in response.results:
                yield wire.embedding_from_proto(result, response.model)

    def get_item(self, item_id: str, *, view: View = "full") -> Item:
        """Return one item.

        Raises:
            NotFound: no item has this id.
        """
        request = catalog_pb2.GetItemRequest(id=item_id, view=wire.view_to_proto(view))
        with self._errors():
            return wire.item_from_proto(self._catalog.GetItem(request, timeout=self.timeout_s).item)

    def get_items(self, item_ids: Iterable[str], *, view: View = "basic") -> dict[str, Item]:
        """Return those of the items that are in the catalogue, by id; any number may be asked for."""
        found: dict[str, Item] = {}
        for page in batches(item_ids, size=len, most=_PAGE_SIZES[view]):
            request = catalog_pb2.BatchGetItemsRequest(ids=page, view=wire.view_to_proto(view))
            with self._errors():
                response = self._catalog.BatchGetItems(request, timeout=self.timeout_s)
            for result in response.results:
                if result.WhichOneof("result") == "item":
                    found[result.item.id] = wire.item_from_proto(result.item)
                elif not isinstance(error := error_from_status(result.error), NotFound):
                    raise error
        return found

    def get_user(self, user_id: str) -> UserData:
        """Return what is stored of a user, whether they were put or only did something.

        Raises:
            NotFound: nothing is.
        """
        with self._errors():
            request = catalog_pb2.GetUserRequest(id=user_id)
            return wire_changes.user_data_from_proto(self._catalog.GetUser(request, timeout=self.timeout_s))

    def list_items(self, *, view: View = "basic", page_size: int | None = None) -> Iterator[Item]:
        """Return all items in the byte order of their ids, fetched page by page."""
        request = catalog_pb2.ListItemsRequest(page_size=page_size or _PAGE_SIZES[view], view=wire.view_to_proto(view))
        while True:
            with self._errors():
                response = self._catalog.ListItems(request, timeout=self.timeout_s)
            yield from map(wire.item_from_proto, response.items)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def get_picture(self, item_id: str, picture_id: str = "") -> Picture:
        """Return a picture with its content as it was put.

        Args:
            item_id: the item.
            picture_id: one of its pictures; the main one by default.

        Raises:
            NotFound: no such item, or it has no such picture.
            FailedPrecondition: the server keeps no contents.
        """
        request = catalog_pb2.GetPictureRequest(item_id=item_id, picture_id=picture_id)
        picture = catalog_pb2.Picture()
        chunks: list[bytes] = []
        with self._errors():
            for response in self._catalog.GetPicture(request, timeout=self.timeout_s):
                if response.HasField("picture"):
                    picture = response.picture
                chunks.append(response.chunk)
        return wire.picture_from_proto(picture, b"".join(chunks))

    def catalog(self) -> Catalog:
        """Return counts, spaces and the sequence of the last durable change."""
        with self._errors():
            return wire.catalog_from_proto(
                self._catalog.GetCatalog(catalog_pb2.GetCatalogRequest(), timeout=self.timeout_s)
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as failure:
            raise error_from_call(failure, self.server) from failure


def _picture_name(place: int, _: bytes) -> str:
    return f"picture {place}"
