"""A feed: all items anew, gathered beside the catalogue and put in its place by one transaction.

What others write while a feed is gathered stands until its commit, which then decides: an item that the feed brings
replaces theirs, one that the feed lacks goes, and one that the feed found unchanged when it asked stays as they left
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from twinset_server.catalog import steps
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store import records
from twinset_server.catalog.store.changes import Changes
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.contents import Contents, Kept, contents_of
from twinset_server.catalog.store.entry import Entry, entry
from twinset_server.catalog.store.failures import from_os_error, from_sqlite
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.readers import Readers
from twinset_server.catalog.store.replacement import Replacement
from twinset_server.catalog.store.requests import Reply, Task
from twinset_server.catalog.store.staging import Staged, Staging
from twinset_server.catalog.store.writer import Writer
from twinset_server.catalog.threads import to_the_end
from twinset_server.domain import FeedSummary, Space, WritableItem
from twinset_server.errors import FailedPrecondition, TwinsetError

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.asynccontextmanager
async def open_feed(
    folder: Folder,
    connection: WritingConnection,
    writer: Writer,
    readers: Readers,
    pictures: PictureFiles,
    kept: Kept,
    spaces: Mapping[str, Space],
) -> AsyncIterator[StoredFeed]:
    """Return a feed whose commit `writer` makes through `connection`, which is its own; at the end it is forgotten.

    Raises:
        DiskFull, StoreUnavailable: there is no place to gather it.
    """
    lock = await _in_thread(folder.feeds_lock)
    try:
        # Until the end of the feed no picture is collected: those of the feed are in no table yet.
        with contextlib.ExitStack() as held:
            # Within the stack: a caller who goes away during the wait would leave the lock to the collector of garbage.
            await _in_thread(held.enter_context, lock.shared())
            staging = await _in_thread(Staging, folder.feeds)
            feed = StoredFeed(folder, connection, writer, readers, pictures, kept, spaces, staging)
            try:
                yield feed
            finally:
                await feed.close()
    finally:
        lock.close()


class StoredFeed:
    """Implements the port `Feed`; `open_feed` makes it."""

    def __init__(
        self,
        folder: Folder,
        connection: WritingConnection,
        writer: Writer,
        readers: Readers,
        pictures: PictureFiles,
        kept: Kept,
        spaces: Mapping[str, Space],
        staging: Staging,
    ) -> None:
        """Make a feed of what is in `staging`: nothing yet."""
        self._folder = folder
        self._connection = connection
        self._writer = writer
        self._readers = readers
        self._pictures = pictures
        self._kept = kept
        self._spaces = spaces
        self._staging = staging
        self._one = asyncio.Lock()
        self._ended = False
        self._committed: Replacement | None = None

    async def unchanged(self, digests: Mapping[str, bytes]) -> set[str]:
        """Take note of items; see the port."""
        self._check()
        async with self._one:
            await self._guarded(self._staging.note, list(digests))
            stored = await self._readers.read(records.digests, list(digests))
        return {item_id for item_id, digest in digests.items() if digest and stored.get(item_id) == digest}

    async def stage(self, items: Sequence[WritableItem]) -> list[TwinsetError | None]:
        """Keep items for the commit; see the port."""
        self._check()
        async with self._one:
            return await self._guarded(self._stage, items)

    async def keep(self, item_ids: Sequence[str]) -> None:
        """Let what is stored under these ids stay as it is; see the port."""
        self._check()
        async with self._one:
            await self._guarded(self._staging.withdraw, item_ids)

    async def commit(self) -> FeedSummary:
        """Make the feed the catalogue; see the port."""
        self._check()
        self._ended = True
        async with self._one:
            replacement = await _in_thread(self._compared)
            reply = Reply()
            self._writer.submit(Task(lambda: self._commit(replacement), reply))
            summary: FeedSummary = await reply.future
        self._committed = replacement
        return summary

    async def close(self) -> None:
        """Forget what wasn't committed."""
        self._ended = True
        async with self._one:
            with contextlib.suppress(TwinsetError):  # logged; a sweep finds what isn't dropped
                unused = await _in_thread(self._unused)
                reply = Reply()
                self._writer.submit(Task(lambda: self._drop(unused), reply))
                await reply.future
            self._staging.close()

    def _check(self) -> None:
        if self._ended:
            raise FailedPrecondition("feed", "the feed was committed, or has failed: begin another")

    async def _guarded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await _in_thread(function, *args, **kwargs)
        except BaseException:
            # What isn't known to be of the feed would be deleted at its commit.
            self._ended = True
            raise

    def _stage(self, items: Sequence[WritableItem]) -> list[TwinsetError | None]:
        entries = [self._checked(item) for item in items]
        pictures = [new for one in entries if isinstance(one, Entry) for new in one.pictures]
        contents = contents_of(pictures, self._kept)
        contents = contents.without(self._pictures.write(contents.files))
        outcomes = [one if isinstance(one, TwinsetError) else _failure(one, contents) for one in entries]
        self._staging.add(
            [
                Staged(one, _names(one, contents))
                for one, outcome in zip(entries, outcomes, strict=True)
                if isinstance(one, Entry) and outcome is None
            ]
        )
        # One that failed is still of the feed: its commit leaves what is stored of it.
        self._staging.note([item.id for item, outcome in zip(items, outcomes, strict=True) if outcome is not None])
        return outcomes

    def _checked(self, item: WritableItem) -> Entry | TwinsetError:
        try:
            return entry(item, self._spaces)
        except TwinsetError as error:
            return error

    def _compared(self) -> Replacement:
        replacement = Replacement(self._staging.sqlite, self._folder.database, self._spaces)
        replacement.compare()
        return replacement

    def _commit(self, replacement: Replacement) -> FeedSummary:
        with self._connection.alone():
            return self._apply(replacement)

    def _apply(self, replacement: Replacement) -> FeedSummary:
        self._staging.sqlite.execute("BEGIN IMMEDIATE")
        try:
            summary = replacement.apply(time.time_ns() // 1000)
            steps.reached(steps.FEED_COMMIT)
            self._staging.sqlite.execute("COMMIT")
        except BaseException:
            if self._staging.sqlite.in_transaction:
                self._staging.sqlite.execute("ROLLBACK")
            raise
        return summary

    def _unused(self) -> list[str]:
        """Return the files that were kept for the feed, but those that pictures of the catalogue show since."""
        return list(self._staging.contents() if self._committed is None else self._committed.unused_contents())

    def _drop(self, contents: Sequence[str]) -> None:
        if contents:
            with self._connection.transaction():
                Changes(self._connection.sqlite, 0).drop(contents)


def _names(one: Entry, contents: Contents) -> dict[str, str]:
    pictures = {new.picture.sha256 for new in one.pictures}
    return {sha256: contents.names[sha256] for sha256 in pictures if sha256 in contents.names}


def _failure(one: Entry, contents: Contents) -> TwinsetError | None:
    errors = (contents.errors.get(new.picture.sha256) for new in one.pictures)
    return next((error for error in errors if error is not None), None)


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns.

    Raises:
        DiskFull, StoreUnavailable: the disk or a database failed.
    """
    try:
        return await to_the_end(function, *args, **kwargs)
    except sqlite3.Error as error:
        raise from_sqlite(error) from error
    except OSError as error:
        raise from_os_error(error) from error
