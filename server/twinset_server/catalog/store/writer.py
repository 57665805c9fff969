"""The thread of a process that writes: everything that waits goes into one commit.

The order is what durability rests on: pictures' files are synced, then the transaction commits, then the callers are
told. So a killed server has lost nothing that anyone was told of. Searches see a commit by following the tables, in
this process as in any other. Between processes commits take turns: see `WritingConnection`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence

from twinset_server.catalog import steps
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.store import answers
from twinset_server.catalog.store.changes import Changes
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.store.contents import Contents
from twinset_server.catalog.store.entry import Checked, InteractionEntry
from twinset_server.catalog.store.failures import ends_transaction, from_os_error, from_sqlite
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.catalog.store.requests import Task, Write, pictures_in
from twinset_server.domain import Commits, Receipt
from twinset_server.errors import RequestIdReused, StoreUnavailable, TwinsetError

_log = logging.getLogger(__name__)

_MAX_CHANGES = 512
_MAX_BYTES = 64 * 2**20
"""One commit takes no more once it has as many: the first in it shouldn't wait long for the last."""

Outcome = Receipt | TwinsetError


class Writer:
    """The writer's thread and its queue. From `start` to `close`, only the thread touches the connection."""

    def __init__(self, folder: Folder, connection: WritingConnection, pictures: PictureFiles) -> None:
        self._connection = connection
        self._pictures = pictures
        self._pictures_lock = folder.pictures_lock()
        self._queue: queue.SimpleQueue[Write | Task | None] = queue.SimpleQueue()
        # What is submitted is either before the end of the queue, or refused.
        self._submission = threading.Lock()
        self._closed = False
        self._held: Task | None = None
        self._ending = False
        # Files that were written for a commit that failed: the next one tells the collector of them.
        self._strays: set[str] = set()
        self._committed = Commits()
        self._thread = threading.Thread(target=self._run, name="catalog-writer")

    @property
    def committed(self) -> Commits:
        """What this writer has committed so far."""
        return self._committed

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Write | Task) -> None:
        """Queue `work`; from any thread.

        Raises:
            StoreUnavailable: the writer is closed.
        """
        with self._submission:
            if self._closed:
                raise StoreUnavailable("the catalogue is closed: the server stops")
            self._queue.put(work)

    def close(self) -> None:
        """Do everything that was submitted before, and end the thread."""
        with self._submission:
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._pictures_lock.close()

    def _run(self) -> None:
        while not self._ending:
            writes = self._take()
            if writes:
                self._write(writes)
            task, self._held = self._held, None
            if task is not None:
                self._perform(task)

    def _take(self) -> list[Write]:
        """Return the writes that wait, up to a commit's bounds; a task that follows them is held."""
        writes: list[Write] = []
        changes = size = 0
        while changes < _MAX_CHANGES and size < _MAX_BYTES:
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
                case Write():
                    changes += len(work.changes)
                    size += work.size_bytes
                    writes.append(work)
        return writes

    def _write(self, writes: Sequence[Write]) -> None:
        contents = Contents()
        try:
            for write in writes:
                contents.add(write.contents.result())
            began_s = time.perf_counter()
            results = self._commit(writes, contents)
            before = self._committed
            self._committed = Commits(before.count + 1, before.seconds + time.perf_counter() - began_s)
        except Exception as error:
            self._strays.update(contents.files)
            refusal = _refusal(error)
            _log.error(
                "a commit of %d calls failed: %s", len(writes), error, exc_info=not isinstance(error, sqlite3.Error)
            )
            results = [[refusal] * len(write.changes) for write in writes]
        for write, result in zip(writes, results, strict=True):
            write.reply.give(result)

    def _commit(self, writes: Sequence[Write], contents: Contents) -> Sequence[Sequence[Outcome] | RequestIdReused]:
        """Return per write its outcomes, or the error of the call as a whole, once all is durable."""
        with contextlib.ExitStack() as held:
            if contents.files:
                held.enter_context(self._pictures_lock.shared())
                contents = contents.without(self._pictures.write(contents.files))
                steps.reached(steps.PICTURES_WRITTEN)
            held.enter_context(self._connection.transaction())
            now_us = time.time_ns() // 1000
            changes = Changes(self._connection.sqlite, now_us)
            results = [self._answer(write, changes, contents, now_us) for write in writes]
            changes.drop(self._strays)
            changes.finish()
            steps.reached(steps.BEFORE_COMMIT)
        steps.reached(steps.AFTER_COMMIT)
        self._strays.clear()
        return results

    def _answer(
        self, write: Write, changes: Changes, contents: Contents, now_us: int
    ) -> Sequence[Outcome] | RequestIdReused:
        if write.request is None:
            return [self._outcome(change, changes, contents) for change in write.changes]
        try:
            before = answers.recall(self._connection.sqlite, write.request, now_us)
        except RequestIdReused as error:
            self._drop_contents(write.changes, changes, contents)
            return error
        given = before or [None] * len(write.changes)
        outcomes = [
            receipt or self._outcome(change, changes, contents)
            for receipt, change in zip(given, write.changes, strict=True)
        ]
        again = [change for receipt, change in zip(given, write.changes, strict=True) if receipt is not None]
        self._drop_contents(again, changes, contents)
        answers.remember(self._connection.sqlite, write.request, outcomes, now_us)
        return outcomes

    def _outcome(self, change: Checked | TwinsetError, changes: Changes, contents: Contents) -> Outcome:
        if isinstance(change, TwinsetError):
            return change
        try:
            for new in pictures_in([change]):
                if new.picture.sha256 in contents.errors:
                    raise contents.errors[new.picture.sha256]
            with self._savepoint(change):
                return changes.apply(change, contents.names)
        except TwinsetError as error:
            self._drop_contents([change], changes, contents)
            return error

    @contextlib.contextmanager
    def _savepoint(self, change: Checked) -> Iterator[None]:
        """Undo what is within if it fails, and leave the rest of the transaction as it is.

        Raises:
            StoreUnavailable: it failed by a defect or at a value.
            sqlite3.Error: it failed in a way that ends the transaction for all.
        """
        execute = self._connection.sqlite.execute
        execute("SAVEPOINT one")
        try:
            yield
        except Exception as error:
            if isinstance(error, sqlite3.Error) and ends_transaction(error):
                raise
            execute("ROLLBACK TO one")
            execute("RELEASE one")
            if isinstance(error, TwinsetError):
                raise
            what = _description(change)
            _log.exception("%s could not be written", what)
            raise StoreUnavailable(f"{what} could not be written: {error}; the server's log says more") from error
        execute("RELEASE one")

    def _drop_contents(self, refused: Sequence[Checked | TwinsetError], changes: Changes, contents: Contents) -> None:
        names = {contents.names.get(new.picture.sha256) for new in pictures_in(refused)}
        changes.drop(name for name in names if name is not None)

    def _perform(self, task: Task) -> None:
        try:
            result = task.run()
        except TwinsetError as error:
            result = error
        except Exception as error:
            _log.exception("a task of the catalogue's writer failed")
            result = _refusal(error)
        task.reply.give(result)


def _refusal(error: Exception) -> TwinsetError:
    match error:
        case sqlite3.Error():
            return from_sqlite(error)
        case OSError():
            return from_os_error(error)
        case _:
            return StoreUnavailable(f"the catalogue's writer failed ({error}): nothing was written; the log says more")


def _description(change: Checked) -> str:
    if isinstance(change, InteractionEntry):
        return f"an interaction of user {change.user_id!r}"
    return f"{type(change).__name__} of {change.id!r}"
