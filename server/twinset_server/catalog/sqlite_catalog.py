"""The catalogue behind the port: opened once, closed once, used from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from twinset import images
from twinset_server.catalog import matching
from twinset_server.catalog.asked import answer_briefly, answer_each, asked_of, view_of
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.checks import RecallChecks
from twinset_server.catalog.index.follower import Follower
from twinset_server.catalog.index.plan import Limits
from twinset_server.catalog.index.views import Views
from twinset_server.catalog.line import SearchLine
from twinset_server.catalog.state import ViewsState
from twinset_server.catalog.store import generations, records, tastes
from twinset_server.catalog.store.answers import Request
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.contents import Contents, contents_of
from twinset_server.catalog.store.entry import Checked, Entry, EntryUpdate, checked, fitted
from twinset_server.catalog.store.feed import StoredFeed, open_feed
from twinset_server.catalog.store.importing import FactorImports
from twinset_server.catalog.store.pacing import Pacing
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.readers import Readers
from twinset_server.catalog.store.requests import Reply, Write, pictures_in
from twinset_server.catalog.store.writer import Outcome, Writer
from twinset_server.config import StoreSettings
from twinset_server.domain import (
    DEFAULT_TARGET_RECALL,
    CatalogStatus,
    Change,
    Expression,
    FacetRequest,
    FactorGeneration,
    FactorRows,
    FactorsHeader,
    Float32Array,
    FoldInRows,
    Item,
    LikeCounts,
    Picture,
    Search,
    SearchResult,
    Space,
    SpaceStatus,
    StoredInteraction,
    StoredPicture,
    StoredVectors,
    User,
    UserData,
    UserTaste,
    Written,
)
from twinset_server.errors import BadVector, PictureNotStored, StoreUnavailable, TwinsetError
from twinset_server.ports import CatalogState

_log = logging.getLogger(__name__)

_SCAN_THREADS = 2
_COPY_THREADS = 2
_PICTURE_TRIES = 3


class SqliteCatalog:
    """The catalogue of one process among several; `open_catalog` makes it. Implements the port `Catalog`."""

    def __init__(
        self, folder: Folder, settings: StoreSettings, *, builder_wait_s: float = 0.0, check_share: float = 0.0
    ) -> None:
        """Open what is in `folder`; see `open_catalog`.

        Raises:
            StartupError, sqlite3.Error, OSError: the database or the pictures' folder can't be used.
        """
        self._folder = folder
        self._kept = settings.pictures
        with contextlib.ExitStack() as undo:
            self._connection = WritingConnection(folder)
            undo.callback(self._connection.close)
            self._pictures = PictureFiles(folder.pictures)
            undo.callback(self._pictures.close)
            self._pictures.prepare()
            self._writes = folder.write_count()
            undo.callback(self._writes.close)
            # As many at once are written into the index without a graph, which takes a builder seconds.
            bulk = Limits.of(settings.fold_at, settings.slow_at, settings.graph_at).bulk_at
            self._follower = Follower(folder.database, folder.index, builder_wait_s=builder_wait_s, bulk=bulk)
            undo.pop_all()
        self._writer = Writer(folder, self._connection, self._pictures)
        self._readers = Readers(folder.database)
        self._pacing = Pacing(settings.slow_at, lambda: self._follower.delta_length, time.monotonic)
        self._imports = FactorImports(
            folder, self._connection, self._writer, lambda: self._follower.delta_length, settings.slow_at
        )
        self._scans = ThreadPoolExecutor(_SCAN_THREADS, thread_name_prefix="catalog-scan")
        self._checks = RecallChecks(check_share)
        self._copies = ThreadPoolExecutor(_COPY_THREADS, thread_name_prefix="catalog-copies")
        self._line = SearchLine(self._seen, self._current)
        self._caught_up_at = -1
        # Made once for each state: every call asks for them, and more than once.
        self._named: Views | None = None
        self._spaces: Mapping[str, Space] = {}
        self._closed = False

    def start(self) -> None:
        """Take in what is stored, and begin to write."""
        self._writer.start()
        try:
            self._follower.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Commit what was written, and stop the threads."""
        self._closed = True
        self._writer.close()
        self._copies.shutdown()
        self._follower.close()
        self._readers.close()
        self._scans.shutdown()
        self._checks.close()
        self._pictures.close()
        self._writes.close()
        self._connection.close()

    def spaces(self) -> Mapping[str, Space]:
        """The spaces by name."""
        views = self._follower.views
        if views is not self._named:
            self._spaces = {name: view.space for name, view in views.spaces.items()}
            self._named = views
        return self._spaces

    def models(self) -> Sequence[str]:
        """The models of all generations; see the port."""
        return self._follower.views.models

    def switched(self) -> int:
        """The change by which a model or factors came to serve last; see the port."""
        return self._follower.views.switched

    async def write(self, changes: Sequence[Change], *, request_id: str = "", digest: bytes = b"") -> Written:
        """Apply changes; see the port."""
        self._check_open()
        spaces = self.spaces()
        reply = Reply()
        refusal = self._pacing.refusal()
        prepared = [_checked(change, spaces, refusal) for change in changes]
        request = Request.of(request_id, changes, digest) if request_id else None
        write = Write(prepared, self._contents(prepared), request, reply)
        # Nothing is awaited before this: of two writes, the one called later must be queued later.
        self._writer.submit(write)
        outcomes: Sequence[Outcome] = await reply.future
        slowed_s = self._pacing.hold_s(write.vectors)
        if slowed_s:
            await asyncio.sleep(slowed_s)
        return Written(outcomes, slowed_s)

    @contextlib.asynccontextmanager
    async def feed(self) -> AsyncIterator[StoredFeed]:
        """Return a session that replaces all items at once; see the port."""
        self._check_open()
        feed = open_feed(
            self._folder, self._connection, self._writer, self._readers, self._pictures, self._kept, self.spaces()
        )
        async with feed as opened:
            yield opened

    async def import_factors(self, header: FactorsHeader, rows: AsyncIterable[FactorRows]) -> FactorGeneration:
        """Fill `taste` with factors; see the port."""
        self._check_open()
        generation = await self._imports.run(header, rows)
        await self._current()  # `spaces` shall know of it
        return generation

    async def factor_generations(self) -> list[FactorGeneration]:
        """Return the generations of factors that are kept; see the port."""
        self._check_open()
        return await self._readers.read(generations.listed)

    async def activate_factors(self, number: int) -> FactorGeneration:
        """Let a kept generation serve; see the port."""
        self._check_open()
        generation = await self._imports.activate(number)
        await self._current()
        return generation

    async def taste(self, user_id: str, generation: int | None) -> UserTaste:
        """Return what is stored of a user's taste; see the port."""
        self._check_open()
        found = self._readers.read_at_once(tastes.taste_briefly, user_id, generation)
        if found is not None:
            return found
        return await self._readers.read(tastes.taste, user_id, generation)

    async def fold_in(self, generation: int, item_ids: Sequence[str]) -> FoldInRows:
        """Return what makes a user's factors; see the port."""
        self._check_open()
        return await self._readers.read(tastes.fold_in, generation, item_ids)

    async def likes(self, *, after: int, liked_from: float | None) -> LikeCounts:
        """Return how many likes each item got; see the port."""
        self._check_open()
        return await self._readers.read(tastes.likes, after, liked_from)

    async def user(self, user_id: str) -> User:
        """Return a user; see the port."""
        self._check_open()
        return await self._readers.read(records.user, user_id)

    async def user_data(self, user_id: str) -> UserData:
        """Return what is stored of a user; see the port."""
        self._check_open()
        return await self._readers.read(records.user_data, user_id)

    async def interactions(self, *, after: int, limit: int) -> list[StoredInteraction]:
        """Return up to `limit` interactions stored by changes above `after`; see the port."""
        self._check_open()
        return await self._readers.read(records.interactions, after, limit)

    async def get(self, item_ids: Sequence[str], *, vectors: bool) -> list[Item | None]:
        """Return the items in the order asked for; see the port."""
        self._check_open()
        return await self._readers.read(records.get, item_ids, vectors)

    async def page(self, *, after: str, limit: int, vectors: bool) -> list[Item]:
        """Return up to `limit` items with ids above `after`; see the port."""
        self._check_open()
        return await self._readers.read(records.page, after, limit, vectors)

    async def picture(self, item_id: str, picture_id: str) -> StoredPicture:
        """Return a picture's content; see the port.

        Raises:
            StoreUnavailable: the content on disk is damaged or gone.
        """
        self._check_open()
        return await self._readers.read(self._read_picture, item_id, picture_id)

    async def matching(self, item_ids: Sequence[str], expression: Expression | None) -> list[str]:
        """Return those of the items that are stored and match; see the port."""
        self._check_open()
        keys = await self._readers.read(records.keys, item_ids)
        if expression is None:
            return [item_id for item_id in item_ids if item_id in keys]
        columns = (await self._current()).columns
        return await asyncio.get_running_loop().run_in_executor(
            self._scans, matching.matching_among, item_ids, keys, expression, columns
        )

    async def vector_of(self, item_id: str, space: str) -> Float32Array:
        """Return the item's vector in `space`; see the port."""
        self._check_open()
        stored = view_of(self._follower.views, space).stored
        return await self._readers.read(records.vector_of, item_id, stored)

    async def picture_vectors(self, wanted: Mapping[str, Collection[str]]) -> Mapping[str, StoredVectors]:
        """Return by item what is stored of vectors made from its pictures; see the port."""
        self._check_open()
        return await self._readers.read(_picture_vectors, wanted, self.spaces())

    async def search(
        self,
        space: str,
        query: Float32Array,
        k: int,
        *,
        exclude: frozenset[str] = frozenset(),
        target_recall: float = DEFAULT_TARGET_RECALL,
        expression: Expression | None = None,
        facets: Sequence[FacetRequest] = (),
    ) -> SearchResult:
        """Return the nearest items; see the port.

        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            BadVector: the query doesn't fit the space.
        """
        return await self._found(Search(space, query, k, exclude, target_recall, expression, facets))

    async def search_many(self, searches: Sequence[Search]) -> list[SearchResult]:
        """Return the result of each search, in order; see the port.

        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            BadVector: a query doesn't fit its space.
        """
        if len(searches) == 1:
            return [await self._found(searches[0])]
        views = await self._current()
        asked = [asked_of(views, one) for one in searches]
        found: list[SearchResult] = []
        while rest := asked[len(found) :]:
            if found:
                await asyncio.sleep(0)  # whoever else waits has a turn
            brief = answer_briefly(rest)
            found += brief or await asyncio.get_running_loop().run_in_executor(self._scans, answer_each, rest)
        for one, result in zip(asked, found, strict=True):
            self._checks.offer(one.search.space, result, one.answer_exactly)
        return found

    async def state(self) -> CatalogState:
        """Return the catalogue with all in it that any process has committed; see the port."""
        return ViewsState(await self._current())

    async def status(self) -> CatalogStatus:
        """Return counts, spaces and the last durable sequence; see the port."""
        views = await self._current()
        counts = await self._readers.read(records.counts)
        return CatalogStatus(
            items=counts.items,
            pictures=counts.pictures,
            spaces=tuple(
                SpaceStatus(view.space, view.live, view.generation, view.delta.length, self._checks.recall(name))
                for name, view in views.spaces.items()
            ),
            sequence=counts.sequence,
            users=counts.users,
            interactions=counts.interactions,
            commits=self._writer.committed,
        )

    async def _found(self, search: Search) -> SearchResult:
        # What takes a millisecond or two is done at once: a thread would cost half as much again.
        if search.expression is None and not search.facets and search.target_recall < 1:
            asked, result = await self._line.answered(search)
        else:
            asked = asked_of(await self._current(), search)
            result = asked.answer_briefly()
        if result is None:
            result = await asyncio.get_running_loop().run_in_executor(self._scans, asked.answer)
        self._checks.offer(search.space, result, asked.answer_exactly)
        return result

    async def _current(self) -> Views:
        """Return what searches read, with all in it that any process has committed."""
        self._check_open()
        # Three microseconds of SQLite are thirty in a loaded server, whose caches are full of other things.
        if (seen := self._seen()) is not None:
            return seen
        writes = self._writes.value
        if self._follower.behind():
            await self._follower.catch_up()
        # Read before the database was asked: whatever had ended by then is in the views.
        self._caught_up_at = writes
        return self._follower.views

    def _seen(self) -> Views | None:
        """Return the same where nobody has written since the last look; None where it takes another."""
        writes = self._writes.value
        return None if writes != self._caught_up_at or writes % 2 or self._closed else self._follower.views

    def _contents(self, changes: Sequence[Checked | TwinsetError]) -> Future[Contents]:
        pictures = list(pictures_in(changes))
        if self._kept == "model" and pictures:
            return self._copies.submit(contents_of, pictures, self._kept)
        ready: Future[Contents] = Future()
        ready.set_result(contents_of(pictures, self._kept))
        return ready

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the catalogue is closed: the server stops")

    def _read_picture(self, connection: sqlite3.Connection, item_id: str, picture_id: str) -> StoredPicture:
        for _ in range(_PICTURE_TRIES):
            kept = records.picture(connection, item_id, picture_id)
            if kept.content is None:
                raise PictureNotStored(
                    f"{item_id}/{kept.picture.id}",
                    f"the server keeps no content of picture {kept.picture.id!r} of item {item_id!r}: "
                    "store.pictures was 'none' when it was put",
                )
            # Between the row and the file, a put may have replaced both: then the row names another file now.
            with contextlib.suppress(FileNotFoundError):
                content = self._pictures.read(kept.content)
                picture = kept.picture if kept.content == kept.picture.sha256 else _described(kept.picture, content)
                return StoredPicture(picture, content)
        _log.error("picture %s of item %r is gone from the disk", kept.content, item_id)
        raise StoreUnavailable(f"picture {kept.picture.id!r} of item {item_id!r} is gone: put the item again with it")


def _picture_vectors(
    connection: sqlite3.Connection, wanted: Mapping[str, Collection[str]], spaces: Mapping[str, Space]
) -> dict[str, StoredVectors]:
    found: dict[str, dict[str, dict[str, Float32Array]]] = {}
    categories: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    for item_id, category, sha256, name, fingerprint, value in records.picture_vectors(connection, wanted):
        categories[item_id] = category
        if name not in spaces or spaces[name].fingerprint != fingerprint:
            continue  # another model was let serve between the two looks
        fingerprints[name] = fingerprint
        # A damaged one is mended by putting its picture again: it must not stand for what that is embedded into.
        with contextlib.suppress(BadVector, ValueError):
            values = fitted("vectors", np.frombuffer(value, "<f4"), spaces[name])
            found.setdefault(item_id, {}).setdefault(sha256, {})[name] = values
    return {item_id: StoredVectors(categories[item_id], pictures, fingerprints) for item_id, pictures in found.items()}


def _described(picture: Picture, copy: bytes) -> Picture:
    """Return `picture` with what describes the content that comes of its copy."""
    header = images.read_header(copy)
    return Picture(
        id=picture.id,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        sha256=picture.sha256,
        size_bytes=len(copy),
        stored=True,
    )


def _checked(change: Change, spaces: Mapping[str, Space], refusal: TwinsetError | None) -> Checked | TwinsetError:
    """Return `change` as the writer takes it, or why it can't be made; `refusal` befalls those that bring vectors."""
    try:
        found = checked(change, spaces)
    except TwinsetError as error:
        return error
    if refusal is not None and isinstance(found, Entry | EntryUpdate) and found.vectors:
        return refusal
    return found
