"""Compares all that a catalogue has on disk: tables, vectors, pictures, index. Reads only."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.maintenance import pictures
from twinset_server.catalog.maintenance.copying import sha256_of
from twinset_server.catalog.maintenance.generations import differing, keys, places, unreachable
from twinset_server.catalog.maintenance.restore import leftovers
from twinset_server.catalog.maintenance.snapshot import Snapshot, snapshot
from twinset_server.catalog.store import spaces
from twinset_server.catalog.store.pictures import path_of
from twinset_server.catalog.store.schema import VERSION, open_reader
from twinset_server.domain import Float32Array
from twinset_server.errors import StoreUnavailable
from twinset_server.maintenance import CheckReport, Finding, Severity, Work

_ROWS = 4096
_SHA256_BYTES = 32
_BATCH = 256
_THREADS = 4

_SAMPLE = 256
"""Stored vectors that each generation is asked for."""

_UNIT_TOLERANCE = 1e-3
"""As at the put: see `store.entry`."""

_NAMED = "SELECT 1 FROM pictures WHERE content = ? LIMIT 1"

_NULL = re.compile(r"NULL value in (\w+)\.(\w+)")

_RESTORE = "restore the folder from a backup"
_PUT_AGAIN = "put the item again"
_COMPACT = "twinset-server compact removes it"
_REBUILD = "twinset-server rebuild makes a new index"


def check(folder: Folder, work: Work) -> CheckReport:
    """Return what is wrong with the catalogue in `folder`, the worst first.

    Raises:
        OperationCancelled: it was cancelled.
    """
    checked = _Check(folder, work)
    try:
        # Contents that the snapshot names stay when it has ended. SQLite's log grows while it is open, so files are
        # read afterwards.
        with pictures.kept(folder):
            with snapshot(folder.database, work) as state:
                checked.tables(state)
            checked.files()
        checked.strays()
    except sqlite3.Error as error:
        work.check()
        checked.found(Severity.ERROR, folder.database.name, f"can't be read: {error}", _RESTORE)
    findings = sorted(checked.findings, key=lambda one: -one.severity.value)
    return CheckReport(findings, checked.sequence, checked.vectors, checked.pictures, checked.generations)


class _Check:
    def __init__(self, folder: Folder, work: Work) -> None:
        self.findings: list[Finding] = []
        self._strays: list[Path] = []
        self._named = bytearray()
        """SHA-256 of the contents that the snapshot names, one behind another."""
        self.sequence = self.vectors = self.pictures = self.generations = 0
        self._is_damaged = True
        self._folder = folder
        self._work = work

    def found(self, severity: Severity, subject: str, description: str, advice: str) -> None:
        self.findings.append(Finding(severity, subject, description, advice))

    def tables(self, state: Snapshot) -> None:
        """Look at the database alone, and note the pictures that it names."""
        execute = state.connection.execute
        [(version,)] = execute("SELECT value FROM meta WHERE name = 'version'").fetchall()
        if version != VERSION:
            advice = f"check it with the twinset-server that wrote it, this one knows version {VERSION}"
            self.found(Severity.ERROR, self._folder.database.name, f"has schema version {version}", advice)
            return
        self._database(state)
        if self.findings:
            # What a damaged file tells about vectors and pictures is no finding of theirs.
            return
        self._is_damaged = False
        counts = state.counts()
        self.sequence = counts.sequence
        self._numbers(state)
        self._items(state, counts.items)
        self._vectors(state, counts.vectors)
        for sha256 in state.pictures():
            self._named += bytes.fromhex(sha256)

    def files(self) -> None:
        """Look at pictures and generations, unless the database is damaged."""
        if self._is_damaged:
            return
        with contextlib.closing(open_reader(self._folder.database)) as connection:
            self._pictures(connection)
            self._orphans(connection)
            self._generations(connection)

    def strays(self) -> None:
        """Tell of files that no row names, once no writer is between a file and its row; not while a feed grows."""
        if not self._strays:
            return
        with (
            contextlib.suppress(StoreUnavailable),
            pictures.removed(self._folder, self._work),
            contextlib.closing(open_reader(self._folder.database)) as connection,
        ):
            for file in self._strays:
                if file.exists() and not connection.execute(_NAMED, (file.parent.name + file.name,)).fetchone():
                    subject = str(file.relative_to(self._folder.path))
                    self.found(Severity.INFO, subject, "is shown by no item", _COMPACT)

    def _database(self, state: Snapshot) -> None:
        self._work.stage("checking the database")
        name = self._folder.database.name
        for (problem,) in state.connection.execute("PRAGMA integrity_check").fetchall():
            if problem != "ok" and not _imagined(state, problem):
                self.found(Severity.ERROR, name, problem.strip(), _RESTORE)
        for table, row, parent, _ in state.connection.execute("PRAGMA foreign_key_check").fetchall():
            where = f"{name}: {table} {row}" if row is not None else f"{name}: {table}"
            self.found(Severity.ERROR, where, f"belongs to a row of {parent} that isn't there", _RESTORE)

    def _numbers(self, state: Snapshot) -> None:
        """Sequences and keys rise, and nothing has one that isn't given yet."""
        execute = state.connection.execute
        for table in ("items", "users", "interactions", "dead"):
            [(highest,)] = execute(f"SELECT max(seq) FROM {table}").fetchall()  # noqa: S608
            if highest is not None and highest > self.sequence:
                text = f"has change {highest}, but the last one is {self.sequence}"
                self.found(Severity.ERROR, f"{self._folder.database.name}: {table}", text, _RESTORE)
        for table in ("items", "pictures", "users", "interactions"):
            [(counted, told)] = execute(
                f"SELECT count(*), (SELECT value FROM meta WHERE name = ?) FROM {table}",  # noqa: S608
                (table,),
            ).fetchall()
            if counted != told:
                text = f"holds {counted} rows, but {told} are told of"
                self.found(Severity.WARNING, f"{self._folder.database.name}: {table}", text, _RESTORE)
        for table in ("items", "vectors", "users"):
            [(highest, given)] = execute(
                f"SELECT max(key), (SELECT seq FROM sqlite_sequence WHERE name = ?) FROM {table}",  # noqa: S608
                (table,),
            ).fetchall()
            if highest is not None and highest > (given or 0):
                text = f"has key {highest}, but the last one given is {given}"
                self.found(Severity.ERROR, f"{self._folder.database.name}: {table}", text, _RESTORE)
        for (key,) in execute("SELECT vectors.key FROM dead JOIN vectors USING (key) LIMIT 100").fetchall():
            self.found(Severity.ERROR, f"vectors {key}", "is stored, but recorded as ended", _PUT_AGAIN)

    def _items(self, state: Snapshot, total: int) -> None:
        self._work.stage("checking attributes", "items", total)
        rows = state.connection.execute("SELECT id, attributes FROM items ORDER BY key")
        while chunk := rows.fetchmany(_ROWS):
            for item_id, attributes in chunk:
                try:
                    json.loads(attributes)
                except ValueError:
                    self.found(Severity.ERROR, f"item {item_id!r}", "has attributes that can't be read", _PUT_AGAIN)
            self._work.advance(len(chunk))

    def _vectors(self, state: Snapshot, total: int) -> None:
        self._work.stage("checking vectors", "vectors", total)
        execute = state.connection.execute
        for space, name, dimension, metric in execute("SELECT key, name, dimension, metric FROM spaces").fetchall():
            rows = execute(
                "SELECT items.id, vectors.key, value FROM vectors JOIN items ON items.key = item WHERE space = ?"
                " ORDER BY vectors.key",
                (space,),
            )
            self._space(rows, f"item {{}} in space {name!r}", dimension, Metric(metric))
            users = execute(
                "SELECT id, key, value FROM user_vectors JOIN users ON key = user WHERE space = ?", (space,)
            )
            self._space(users, f"user {{}} in space {name!r}", dimension, Metric(metric))

    def _space(self, rows: sqlite3.Cursor, subject: str, dimension: int, metric: Metric) -> None:
        while chunk := rows.fetchmany(_ROWS):
            fitting = []
            for owner, key, value in chunk:
                if len(value) == 4 * dimension:
                    fitting.append((owner, key, value))
                else:
                    text = f"vector {key} has {len(value)} bytes instead of {4 * dimension}"
                    self.found(Severity.ERROR, subject.format(repr(owner)), text, _PUT_AGAIN)
            values = np.frombuffer(b"".join(value for *_, value in fitting), "<f4").reshape(-1, dimension)
            finite = np.isfinite(values).all(axis=1)
            with np.errstate(invalid="ignore", over="ignore"):
                lengths = np.linalg.norm(values.astype(np.float64), axis=1)
            unit = (np.abs(lengths - 1) <= _UNIT_TOLERANCE) | (metric is not Metric.COSINE)
            for place in np.flatnonzero(~(finite & unit)):
                owner, key, _ = fitting[place]
                fault = "isn't of unit length" if finite[place] else "has a component that isn't finite"
                self.found(Severity.ERROR, subject.format(repr(owner)), f"vector {key} {fault}", _PUT_AGAIN)
            self.vectors += len(chunk)
            self._work.advance(len(chunk))

    def _pictures(self, connection: sqlite3.Connection) -> None:
        self._work.stage("checking pictures", "pictures", len(self._named) // _SHA256_BYTES)

        def fault(sha256: str) -> str | None:
            try:
                intact = sha256_of(path_of(self._folder.pictures, sha256)) == sha256
            except OSError as error:
                return f"can't be read ({error.strerror})"
            return None if intact else "is damaged: its content has another SHA-256"

        starts = range(0, len(self._named), _SHA256_BYTES)
        names = (self._named[start : start + _SHA256_BYTES].hex() for start in starts)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as pool:
            while batch := list(islice(names, _BATCH)):
                for sha256, problem in zip(batch, pool.map(fault, batch), strict=True):
                    if problem is not None:
                        subject = str(path_of(self._folder.pictures, sha256).relative_to(self._folder.path))
                        owners = ", ".join(repr(item_id) for item_id in _owners(connection, sha256))
                        advice = f"put again with this picture: {owners}"
                        self.found(Severity.ERROR, subject, problem, advice)
                self.pictures += len(batch)
                self._work.advance(len(batch))

    def _orphans(self, connection: sqlite3.Connection) -> None:
        directories = pictures.directories(self._folder.pictures)
        self._work.stage("looking for unused files", "folders", len(directories))
        for directory in directories:
            for file in sorted(directory.iterdir()):
                if not connection.execute(_NAMED, (directory.name + file.name,)).fetchone():
                    self._strays.append(file)
            self._work.advance()
        for path in leftovers(self._folder):
            self.found(Severity.INFO, path.name, "was left by a restore that didn't end", _COMPACT)

    def _generations(self, connection: sqlite3.Connection) -> None:
        listed = places(self._folder.index)
        self._work.stage("checking the index", "generations", len(listed))
        known = {str(key): space for key, space in spaces.keyed(connection).values()}
        for place in listed:
            space = known.get(place.home.name)
            subject = str(place.manifest.relative_to(self._folder.path))
            if space is None:
                self.found(Severity.WARNING, subject, "is of a space that isn't there", f"remove {place.home}")
            else:
                try:
                    opened = place.opened(space, self._work)
                    # Begun after the generation was read: it knows all changes that the generation does.
                    with snapshot(self._folder.database, self._work) as state:
                        differences = _differences(state, opened, int(place.home.name))
                    # Of one that was removed meanwhile the changes since may be forgotten.
                    if place.exists:
                        for text in differences:
                            self.found(Severity.WARNING, subject, text, _REBUILD)
                except Unsound as error:
                    # The builder removes old ones.
                    if place.exists:
                        self.found(Severity.WARNING, subject, f"can't be used: {error}", _REBUILD)
            self.generations += 1
            self._work.advance()


def _differences(state: Snapshot, opened: OpenGeneration, space: int) -> Sequence[str]:
    """Return in what a generation differs from the vectors stored."""
    generation, execute = opened.generation, state.connection.execute
    ended = [
        key for (key,) in execute("SELECT key FROM dead WHERE space = ? AND seq > ?", (space, generation.sequence))
    ]
    indexed = np.setdiff1d(keys(opened), np.union1d(opened.dead, np.array(ended, np.int64)))
    rows = execute("SELECT key FROM vectors WHERE space = ? AND key <= ?", (space, generation.key))
    stored = np.fromiter((key for (key,) in rows), np.int64)
    sample = _sampled(state, np.intersect1d(indexed, stored), generation.number)
    others = differing(opened, sample)
    same = {key: vector for key, vector in sample.items() if key not in others}
    return [
        f"{text}: {len(found)} of them, keys {', '.join(map(str, found[:5]))}{', ...' if len(found) > 5 else ''}"
        for found, text in (
            (np.setdiff1d(indexed, stored).tolist(), "holds vectors that aren't stored"),
            (np.setdiff1d(stored, indexed).tolist(), "lacks stored vectors"),
            (others, f"of a sample of {len(sample)} holds other vectors than are stored"),
            (unreachable(opened, same), f"of a sample of {len(same)} asked for doesn't find vectors"),
        )
        if found
    ]


def _sampled(state: Snapshot, among: Int64Array, seed: int) -> dict[int, Float32Array]:
    """Return the stored vectors of some of the keys, others for each generation."""
    chosen = np.random.default_rng(seed).choice(among, min(_SAMPLE, len(among)), replace=False)
    question = "SELECT key, value FROM vectors WHERE key IN (SELECT value FROM json_each(?))"
    rows = state.connection.execute(question, (json.dumps(chosen.tolist()),))
    return {key: np.frombuffer(value, "<f4").astype(np.float32) for key, value in rows}


def _imagined(state: Snapshot, problem: str) -> bool:
    """Return whether `problem` tells of a NULL that isn't there.

    SQLite 3.40 takes one column for another in tables without rowid whose primary key isn't their first columns.
    """
    match = _NULL.fullmatch(problem)
    if match is None:
        return False
    question = 'SELECT NOT EXISTS (SELECT 1 FROM "{}" WHERE "{}" IS NULL)'.format(*match.groups())  # noqa: S608
    return bool(state.connection.execute(question).fetchone()[0])


def _owners(connection: sqlite3.Connection, sha256: str) -> Iterator[str]:
    rows = connection.execute(
        "SELECT DISTINCT items.id FROM pictures JOIN items ON items.key = item WHERE content = ?"
        " ORDER BY items.id LIMIT 5",
        (sha256,),
    )
    for (item_id,) in rows.fetchall():
        yield item_id
