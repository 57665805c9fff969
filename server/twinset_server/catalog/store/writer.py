"""The thread that writes: everything that waits goes into one commit.

The order is what durability rests on: pictures' files are synced, then the transaction commits, then searches see it,
then the callers are told. So a killed server has lost nothing that anyone was told of, and nothing was seen that it
lost.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twinset_server.catalog.index.views import CatalogIndex
from twinset_server.catalog.store.changes import Change, Tables
from twinset_server.catalog.store.entry import Entry
from twinset_server.catalog.store.failures import ends_transaction, from_sqlite
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.requests import Delete, Put, Task
from twinset_server.domain import Receipt
from twinset_server.errors import ItemNotFound, StoreUnavailable, TwinsetError

_log = logging.getLogger(__name__)

_MAX_ITEMS = 512
_MAX_BYTES = 64 * 2**20
"""One commit takes no more once it has as many: the first in it shouldn't wait long for the last."""

_BROKEN = (
    "the catalogue takes no more writes after a failure, and may or may not have stored this one: restart the server, "
    "whose log says more, and write it again"
)

Outcome = Receipt | TwinsetError
Write = Put | Delete


@dataclass(slots=True)
class _Commit:
    """A transaction as it grows.

    Attributes:
        sequence: of the last change in it.
        now_us: its time, microseconds since 1970.
        damaged: contents that could not be written, by SHA-256.
        change: what it means for the index and the pictures.
        refused: SHA-256 of the contents of items that failed.
    """

    sequence: int
    now_us: int
    damaged: Mapping[str, TwinsetError]
    change: Change = field(default_factory=Change)
    refused: set[str] = field(default_factory=set)

    def add(self, change: Change, sequence: int) -> None:
        """Take in what one write did."""
        self.change.merge(change)
        self.sequence = sequence


class Writer:
    """The writer's thread and its queue. From `start` to `close`, only the thread touches what it was given."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        pictures: PictureFiles,
        index: CatalogIndex,
        *,
        keep_pictures: bool,
        committed: Callable[[], None],
    ) -> None:
        """Make a writer that calls `committed` after each commit that searches see."""
        self._connection = connection
        self._tables = Tables(connection)
        self._pictures = pictures
        self._index = index
        self._keep_pictures = keep_pictures
        self._committed = committed
        self._queue: queue.SimpleQueue[Write | Task | None] = queue.SimpleQueue()
        self._held: Task | None = None
        self._ending = False
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="catalog-writer")

    @property
    def tables(self) -> Tables:
        """The tables, for tasks."""
        return self._tables

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Write | Task) -> None:
        """Queue `work`; from any thread."""
        self._queue.put(work)

    def close(self) -> None:
        """Do everything that was submitted before, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._ending:
            writes = self._take()
            if writes and self._broken:
                self._refuse(writes, StoreUnavailable(_BROKEN))
            elif writes:
                self._guard(writes)
            task, self._held = self._held, None
            if task is not None:
                self._perform(task)

    def _take(self) -> list[Write]:
        """Return the writes that wait, up to a commit's bounds; a task that follows them is held."""
        writes: list[Write] = []
        items = size = 0
        while items < _MAX_ITEMS and size < _MAX_BYTES:
            try:
                work = self._queue.get(block=not writes)
            except queue.Empty:
                break
            match work:
                case None:
                    self._ending = True
                    break
                case Task():
                    self._held = work
                    break
                case Put():
                    items += len(work.entries)
                    size += sum(len(new.content) for entry in _entries([work]) for new in entry.pictures)
                case Delete():
                    items += 1
            writes.append(work)
        return writes

    def _guard(self, writes: Sequence[Write]) -> None:
        try:
            self._commit(writes)
        except Exception:
            # A defect, past which disk and memory may disagree. Reading goes on; writing needs a fresh start.
            _log.critical("the catalogue's writer failed: no more writes until the server restarts", exc_info=True)
            self._broken = True
            self._roll_back()
            self._refuse(writes, StoreUnavailable(_BROKEN))

    def _commit(self, writes: Sequence[Write]) -> None:
        contents: dict[str, bytes] = {}
        if self._keep_pictures:
            contents = {new.picture.sha256: new.content for entry in _entries(writes) for new in entry.pictures}
        commit = _Commit(self._index.views.sequence, time.time_ns() // 1000, self._pictures.write(contents))
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            answers = [self._apply(write, commit) for write in writes]
            self._tables.set_sequence(commit.sequence)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            _log.error("a commit of %d writes failed: %s", len(writes), error)
            self._refuse(writes, from_sqlite(error))
            self._collect(set(contents))
            return
        self._index.apply(commit.change, commit.sequence)
        for write, answer in zip(writes, answers, strict=True):
            write.reply.give(answer)
        self._committed()
        self._collect(commit.change.dropped | commit.refused)

    def _apply(self, write: Write, commit: _Commit) -> object:
        """Return the answer to one write, once its transaction commits."""
        match write:
            case Put(entries):
                return [entry if isinstance(entry, TwinsetError) else self._put(entry, commit) for entry in entries]
            case Delete(item_id):
                return self._delete(item_id, commit)

    def _put(self, entry: Entry, commit: _Commit) -> Outcome:
        contents = [new.picture.sha256 for new in entry.pictures]
        sequence = commit.sequence + 1
        etag = f"{sequence:x}"
        try:
            for sha256 in contents:
                if sha256 in commit.damaged:
                    raise commit.damaged[sha256]
            with self._savepoint(f"item {entry.id!r}"):
                change = self._tables.put(entry, sequence, commit.now_us, etag=etag, stored=self._keep_pictures)
        except TwinsetError as error:
            commit.refused.update(contents)
            return error
        commit.add(change, sequence)
        return Receipt(etag, sequence)

    def _delete(self, item_id: str, commit: _Commit) -> int | TwinsetError:
        sequence = commit.sequence + 1
        try:
            with self._savepoint(f"deletion of item {item_id!r}"):
                change = self._tables.delete(item_id, sequence)
        except TwinsetError as error:
            return error
        if change is None:
            return ItemNotFound(item_id)
        commit.add(change, sequence)
        return sequence

    @contextlib.contextmanager
    def _savepoint(self, what: str) -> Iterator[None]:
        """Undo what is within if it fails, and leave the rest of the transaction as it is.

        Raises:
            StoreUnavailable: it failed.
            sqlite3.Error: it failed in a way that ends the transaction for all.
        """
        self._connection.execute("SAVEPOINT one")
        try:
            yield
        except Exception as error:
            if isinstance(error, sqlite3.Error) and ends_transaction(error):
                raise
            self._connection.execute("ROLLBACK TO one")
            self._connection.execute("RELEASE one")
            _log.exception("%s could not be written", what)
            raise StoreUnavailable(f"{what} could not be written: {error}; the server's log says more") from error
        self._connection.execute("RELEASE one")

    def _roll_back(self) -> None:
        # SQLite has already rolled back after some errors.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _collect(self, contents: set[str]) -> None:
        """Remove the files of those `contents` that no row names."""
        try:
            self._pictures.remove(self._tables.unused(contents))
        except sqlite3.Error as error:
            # They are swept when the catalogue is next opened after a kill; until then they only take room.
            _log.warning("%d pictures could not be checked for use: %s", len(contents), error)

    def _refuse(self, writes: Sequence[Write], error: TwinsetError) -> None:
        for write in writes:
            write.reply.give([error] * len(write.entries) if isinstance(write, Put) else error)

    def _perform(self, task: Task) -> None:
        try:
            result = task.run()
        except Exception as error:
            self._roll_back()
            if task.reply is None:
                _log.exception("a task of the catalogue's writer failed")
                return
            result = from_sqlite(error) if isinstance(error, sqlite3.Error) else error
        if task.reply is not None:
            task.reply.give(result)


def _entries(writes: Sequence[Write]) -> Iterator[Entry]:
    for write in writes:
        if isinstance(write, Put):
            yield from (entry for entry in write.entries if isinstance(entry, Entry))
