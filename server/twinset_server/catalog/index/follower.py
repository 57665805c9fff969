"""Follows the change log and the generations, and keeps the views that searches read.

One thread owns all that changes. Each 10 ms, and at once when a search waits for it, it takes in what was committed
since, in one snapshot of the database. A new generation is opened and checked by a second thread, and takes the place
of the old one between two such steps; views that were taken before stay whole for as long as anyone holds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from twinset_server.catalog.columns.writing import ColumnTable
from twinset_server.catalog.index.awaiting import BuilderWait
from twinset_server.catalog.index.checksums import Stopped
from twinset_server.catalog.index.following import SpaceState
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.views import Views, views_of
from twinset_server.catalog.store.failures import from_sqlite
from twinset_server.catalog.store.log import ChangeLog, LogChunk, Position, Snapshot
from twinset_server.catalog.store.schema import open_reader
from twinset_server.errors import StartupError, StoreUnavailable

_log = logging.getLogger(__name__)

_TICK_S = 0.01
_CHUNK = 256
"""Rows absorbed at a time: they hold the interpreter for a few milliseconds, in which searches wait."""

_BULK = 20_000
"""So many vectors outside the index are worth waiting for the builder: searching them one by one is slow."""

_BULK_TICK_S = 0.1

_WATCH_BUSY_MS = 50

_NOT_YET = "the catalogue's index can't follow the database; the server's log says more, try again"


class Follower:
    """The index of a catalogue as one worker sees it."""

    def __init__(self, database: Path, index: Path, *, builder_wait_s: float = 0.0, bulk: int = _BULK) -> None:
        """Make a follower of `database` and of the generations in the folder `index`.

        Args:
            database: the SQLite file.
            index: where a builder writes; it may be empty, or not exist.
            builder_wait_s: how long many vectors that no generation has wait for a builder: at the start, and after a
                commit that brings them at once.
            bulk: how many are many. As many wait in memory at the most, where there is a builder.
        """
        self._database = database
        self._index = index
        self._builder = BuilderWait(index, builder_wait_s, bulk)
        self._log = ChangeLog(database)
        self._watch = open_reader(database)
        # It is asked on the event loop, which can't wait for a recovery.
        self._watch.execute(f"PRAGMA busy_timeout = {_WATCH_BUSY_MS}")
        self._watched_version = -1
        self._committed = 0
        self._position = Position(0, 0)
        self._states: dict[str, SpaceState] = {}
        self._columns = ColumnTable()
        self._views = Views(0, {}, self._columns.publish())
        self._delta_length = 0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._waiters: list[Callable[[BaseException | None], None]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="catalog-follower")
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="catalog-opener")
        self._opening: dict[str, Future[OpenGeneration | None]] = {}
        # Until a step has taken them in: one that fails is taken again.
        self._ready: dict[str, OpenGeneration] = {}
        self._found: dict[str, OpenGeneration | None] = {}

    @property
    def views(self) -> Views:
        """Every space after the last change that was taken in."""
        return self._views

    @property
    def delta_length(self) -> int:
        """Vectors outside the index, in the space that has the most of them, shown or not."""
        return self._delta_length

    def start(self) -> None:
        """Open the newest sound generations, take in what was committed since, and begin to follow.

        Raises:
            StartupError: the database can't be read.
        """
        try:
            for name, (key, space) in self._log.spaces().items():
                state = self._states[name] = SpaceState(self._index / str(key), space)
                self._found[name] = state.open_newest(self._stop.is_set)
            self._builder.first_generations(self._log, self._states, self._found, self._stop.is_set)
            self._columns = ColumnTable(self._builder.first_columns(self._log, self._stop.is_set))
            self._absorb()
        except (sqlite3.Error, StoreUnavailable) as error:
            raise StartupError(
                f"{self._database} can't be read ({error}): check its disk, or restore the folder from a backup"
            ) from error
        self._thread.start()

    def behind(self) -> bool:
        """Return whether anything was committed, by whichever process, that the views lack. For the event loop only.

        Raises:
            StoreUnavailable: the database can't be read.
        """
        try:
            (version,) = self._watch.execute("PRAGMA data_version").fetchone()
            if version != self._watched_version:
                # Read after the version: what is committed in between makes another version, and is asked for again.
                (self._committed,) = self._watch.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
                self._watched_version = version
        except sqlite3.Error as error:
            raise from_sqlite(error) from error
        return self._views.sequence < self._committed

    async def catch_up(self) -> None:
        """Return when the views have all that was committed before the call.

        Raises:
            StoreUnavailable: the database can't be read.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def resolve(error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        def done(error: BaseException | None) -> None:
            # The loop may be closed by now; then nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(resolve, error)

        with self._lock:
            if self._stop.is_set():
                raise StoreUnavailable("the catalogue is closed: the server stops")
            self._waiters.append(done)
        self._wake.set()
        await future

    def close(self) -> None:
        """End the threads. Views that were taken stay valid."""
        with self._lock:
            self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._opener.shutdown(cancel_futures=True)
        self._log.close()
        self._watch.close()

    def _run(self) -> None:
        failed = False
        while not self._stop.is_set():
            self._wake.wait(_TICK_S)
            self._wake.clear()
            # Taken before the snapshot begins: it has all that they wait for.
            with self._lock:
                waiters, self._waiters = self._waiters, []
            error: StoreUnavailable | None = None
            try:
                # Both are asked each time: under load there is always a change, and generations must not wait.
                news, changed = self._news(), self._log.changed()
                if (news or changed or waiters or failed) and not self._absorb():
                    with self._lock:
                        self._waiters[:0] = waiters
                    self._stop.wait(_BULK_TICK_S)
                    continue
                failed = False
            except Exception:
                if not failed:
                    _log.exception("the changes of the catalogue could not be read; it is tried again")
                failed = True
                error = StoreUnavailable(_NOT_YET)
            for waiter in waiters:
                waiter(error)
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter(StoreUnavailable("the catalogue is closed: the server stops"))

    def _news(self) -> bool:
        """Begin to open generations that appeared; return whether one is ready to be used."""
        for name, state in self._states.items():
            opening = self._opening.get(name)
            if opening is None and state.newer_generation():
                self._opening[name] = self._opener.submit(self._open, state)
        return bool(self._ready) or any(opening.done() for opening in self._opening.values())

    def _open(self, state: SpaceState) -> OpenGeneration | None:
        try:
            return state.open_newer(self._stop.is_set)
        except Stopped:
            return None

    def _collect_opened(self) -> None:
        """Make what was opened ready to be taken in."""
        for name in [name for name, opening in self._opening.items() if opening.done()]:
            found = self._opening.pop(name).result()
            if found is not None:
                self._ready[name] = found

    def _absorb(self) -> bool:
        """Take in what was committed, and what was opened, and publish the views of it.

        Return False where it is so much that it waits for the builder.
        """
        while (done := self._taken_in()) is None:
            pass
        return done

    def _taken_in(self) -> bool | None:
        """Do what `_absorb` does; return None where a space has to begin anew, and all has to be done again."""
        # Before the snapshot: what is opened is no newer than what is read.
        spaces = self._log.spaces()
        for name, (key, space) in spaces.items():
            state = self._states.setdefault(name, SpaceState(self._index / str(key), space))
            state.space = space
            if state.is_new and name not in self._found:
                self._found[name] = state.open_newest(self._stop.is_set)
        self._collect_opened()
        with self._log.snapshot() as snapshot:
            served = snapshot.served()
            if not served.stored <= self._states.keys():
                return None  # one came between the two looks
            cut = self._cut_off()
            if not cut:
                # First, since vectors are added with the places of their items.
                self._columns.follow(snapshot)
                if self._builder.awaits(snapshot, self._position.key, self._known_keys()):
                    return False
                self._take_in(snapshot)
                position = snapshot.position
        if cut:
            for name in cut:
                _log.warning("space %s: the log was cut before it was read, its index begins anew", name)
                self._states[name].is_new = True
                self._found.pop(name, None)
                # What is being opened shares segments that lack deaths.
                self._opening.pop(name, None)
                self._ready.pop(name, None)
            return None
        self._position = position
        self._ready.clear()
        self._found.clear()
        columns = self._columns.publish()
        views = {name: state.view(position.sequence, columns) for name, state in self._states.items()}
        self._delta_length = max((view.delta.length for view in views.values()), default=0)
        self._views = views_of(position.sequence, views, columns, served)
        return True

    def _known_keys(self) -> dict[str, int]:
        """Return the last key of a vector that is known of each space, what was opened included."""
        return {
            name: max(self._position.key, self._ready[name].generation.key if name in self._ready else state.key)
            for name, state in self._states.items()
            if not state.is_new
        }

    def _cut_off(self) -> list[str]:
        """Return the spaces whose state the log that was just read doesn't reach back to."""
        known = {name: self._position.sequence for name, state in self._states.items() if not state.is_new}
        # Where nothing is known, no death is missed.
        known.update({name: found.generation.sequence for name, found in self._found.items() if found is not None})
        return [name for name, sequence in known.items() if self._states[name].log_was_cut(sequence)]

    def _take_in(self, snapshot: Snapshot) -> None:
        """Bring every state to the snapshot. Where reading fails half-way, the same may be done once more."""
        sequence = snapshot.position.sequence
        following = {name: state for name, state in self._states.items() if not state.is_new}
        dead = snapshot.dead(self._position.sequence)
        for name, state in following.items():
            state.bury(dead.get(name), sequence)
        for name, opened in self._ready.items():
            if following[name].log_was_cut(opened.generation.sequence):
                following[name].set_aside(opened)
            else:
                following[name].switch(opened, snapshot.dead(opened.generation.sequence).get(name), sequence)
        columns = self._columns.publish()
        for chunk in self._added(following, snapshot):
            if chunk.space in following:
                following[chunk.space].add(chunk, columns)
        for name in self._states.keys() - following.keys():
            state, found = self._states[name], self._found[name]
            state.begin(found, None if found is None else snapshot.dead(found.generation.sequence).get(name), sequence)
            for chunk in snapshot.added(state.key, name, _CHUNK):
                state.add(chunk, columns)
            state.is_new = False

    def _added(self, following: Mapping[str, SpaceState], snapshot: Snapshot) -> Iterator[LogChunk]:
        """Yield what is in none of the views and in no generation."""
        starts = {name: max(self._position.key, state.key) for name, state in following.items()}
        if not any(start < snapshot.position.key for start in starts.values()):
            return
        if len(set(starts.values())) == 1:
            yield from snapshot.added(next(iter(starts.values())), None, _CHUNK)
            return
        for name, start in starts.items():
            yield from snapshot.added(start, name, _CHUNK)
