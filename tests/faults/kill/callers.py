"""Callers that write to a server and don't give up: what was not answered is sent again under the same request id."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import field_mask_pb2
from google.rpc import code_pb2

from faults import content
from faults.ledger import Attempt, Ledger, State
from twinset.v1 import catalog_pb2, catalog_pb2_grpc

KEYS = 24
"""Items that each caller owns: nobody else writes them, so that their order is known."""

PATIENCE_S = 30.0

# A connection to a killed process is made again at once, to whichever process listens.
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]

_AGAIN = (code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED)
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class Refused(AssertionError):
    """The server refused what it should have done."""


class Caller:
    """One caller with its own connection, keys and chance. What it was told goes into the shared ledger."""

    def __init__(self, address: str, number: int, ledger: Ledger) -> None:
        self._address = address
        self.number = number
        self._ledger = ledger
        self._chance = random.Random(number)
        self._versions = 0
        self._interactions = 0
        self._states: dict[str, State] = {}
        self._channel = self._connected()

    @property
    def items(self) -> dict[str, State]:
        """The items that it put and did not delete."""
        return self._states

    async def run(self, stop: asyncio.Event) -> None:
        """Write until `stop` is set; what was sent by then is brought to its end."""
        while not stop.is_set():
            await self._chance.choices(
                [self._put, self._update, self._delete, self._interact, self._put_users], [8, 5, 2, 3, 1]
            )[0]()

    async def reconnect(self) -> None:
        """Open another connection, perhaps to another worker."""
        channel, self._channel = self._channel, self._connected()
        await channel.close()

    async def close(self) -> None:
        await self._channel.close()

    def take(self, items: dict[str, State]) -> None:
        """Learn what a feed made of the items."""
        self._states = {name: state for name, state in items.items() if name.startswith(f"{self.number}-")}

    def new_version(self) -> int:
        self._versions += 1
        return self._versions

    async def _put(self) -> None:
        names = self._some(8)
        states = {name: (self.new_version(), 0) for name in names}
        request = catalog_pb2.PutItemsRequest(items=[item(name, state) for name, state in states.items()])
        await self._send("PutItems", request, Attempt(items=dict(states)))
        self._states |= states

    async def _update(self) -> None:
        names = [name for name in self._some(8) if name in self._states]
        if not names:
            return
        states = {name: (self._states[name][0], self.new_version()) for name in names}
        request = catalog_pb2.UpdateItemsRequest()
        for name, (_, price) in states.items():
            update = request.updates.add(update_mask=field_mask_pb2.FieldMask(paths=["attributes.price"]))
            update.item.id = name
            update.item.attributes["price"].int_value = price
        await self._send("UpdateItems", request, Attempt(items=dict(states)))
        self._states |= states

    async def _delete(self) -> None:
        names = [name for name in self._some(3) if name in self._states]
        if not names:
            return
        deletions = [catalog_pb2.ItemDeletion(id=name) for name in names]
        request = catalog_pb2.DeleteItemsRequest(deletions=deletions)
        await self._send("DeleteItems", request, Attempt(items=dict.fromkeys(names)))
        for name in names:
            del self._states[name]

    async def _interact(self) -> None:
        serials = [self.number * 10_000_000 + self._interactions + place for place in range(self._chance.randint(1, 5))]
        self._interactions += len(serials)
        request = catalog_pb2.PutInteractionsRequest(
            interactions=[
                catalog_pb2.Interaction(user_id=f"{self.number}", item_id="any", kind="view", weight=serial)
                for serial in serials
            ]
        )
        await self._send("PutInteractions", request, Attempt(interactions=serials))

    async def _put_users(self) -> None:
        name, version = f"{self.number}-{self._chance.randrange(4)}", self.new_version()
        user = catalog_pb2.User(id=name)
        user.attributes["version"].int_value = version
        await self._send("PutUsers", catalog_pb2.PutUsersRequest(users=[user]), Attempt(users={name: version}))

    async def _send(self, method: str, request: Any, attempt: Attempt) -> None:
        """Send until it is answered."""
        request.request_id = str(uuid.uuid4())
        number = self._ledger.begin(attempt)
        end = time.monotonic() + PATIENCE_S
        while not await self._sent(method, request):
            if time.monotonic() > end:
                raise Refused(f"{method} got no answer within {PATIENCE_S:.0f} s")
            await asyncio.sleep(0.02)
        self._ledger.done(number)

    async def _sent(self, method: str, request: Any) -> bool:
        try:
            call = getattr(catalog_pb2_grpc.CatalogServiceStub(self._channel), method)(iter([request]), timeout=10)
            response = await call.read()
            call.cancel()
        except grpc.aio.AioRpcError as error:
            if _broken(error):
                return False
            raise Refused(f"{method}: {error.code().name} {error.details()}") from error
        if response is grpc.aio.EOF:
            return False
        errors = [result.error for result in response.results if result.HasField("error")]
        for error in errors:
            if error.code not in _AGAIN:
                raise Refused(f"{method}: {error.message}")
        return not errors

    def _some(self, most: int) -> list[str]:
        count = self._chance.randint(1, most)
        return [f"{self.number}-{place}" for place in self._chance.sample(range(KEYS), count)]

    def _connected(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._address, options=OPTIONS)


def _broken(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the connection broke, which gRPC's own code may also call an internal error of its core."""
    return error.code() in _BROKEN or "from Core" in (error.details() or "")


def item(name: str, state: State) -> catalog_pb2.Item:
    """Return an item at a version, as it is put."""
    version, price = state
    made = catalog_pb2.Item(id=name, title=content.title(name, version))
    made.attributes["version"].int_value = version
    if price:
        made.attributes["price"].int_value = price
    made.vectors.add(space=content.SPACE, values=content.vector(name, version).tobytes())
    if content.has_picture(version):
        made.pictures.add(content=content.picture(name, version))
    return made


async def feed(address: str, ledger: Ledger, callers: Sequence[Caller], chance: random.Random) -> None:
    """Replace all items: some stay, some change, some go, some come. Only while no caller writes."""
    states: dict[str, State] = {}
    for caller in callers:
        for place in range(KEYS):
            name = f"{caller.number}-{place}"
            match chance.randrange(4):
                case 0 if name in caller.items:
                    states[name] = caller.items[name]
                case 1 | 2:
                    states[name] = (caller.new_version(), 0)
    before = [name for name, state in ledger.items.items() if state is not None]
    attempt = Attempt(items={**dict.fromkeys(before), **states}, whole=True)
    number = ledger.begin(attempt)
    end = time.monotonic() + PATIENCE_S
    while not await _fed(address, states):
        if time.monotonic() > end:
            raise Refused(f"the feed was not committed within {PATIENCE_S:.0f} s")
        await asyncio.sleep(0.02)
    ledger.done(number)
    for caller in callers:
        caller.take(states)


async def _fed(address: str, states: dict[str, State]) -> bool:
    async def messages() -> AsyncIterator[Any]:
        names = list(states)
        for start in range(0, len(names), 32):
            feed_items = catalog_pb2.FeedItems(items=[item(name, states[name]) for name in names[start : start + 32]])
            yield catalog_pb2.ReplaceCatalogRequest(items=feed_items)
        yield catalog_pb2.ReplaceCatalogRequest(commit=catalog_pb2.FeedCommit(allow_empty=True))

    async with connected(address) as channel:
        try:
            async for response in catalog_pb2_grpc.CatalogServiceStub(channel).ReplaceCatalog(messages(), timeout=20):
                if response.HasField("summary"):
                    return True
                for result in response.items.results:
                    if result.HasField("error") and result.error.code not in _AGAIN:
                        raise Refused(f"feed: {result.error.message}")
        except grpc.aio.AioRpcError as error:
            if not _broken(error):
                raise Refused(f"feed: {error.code().name} {error.details()}") from error
    return False


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Return a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        yield channel
