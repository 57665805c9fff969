"""The database alone: its file, numbers, attributes and vectors."""

from __future__ import annotations

import json
import re
import sqlite3

import numpy as np

from twinset.contract import Metric
from twinset_server.catalog.maintenance.checking.findings import PUT_AGAIN, RESTORE, Findings
from twinset_server.catalog.maintenance.snapshot import Snapshot
from twinset_server.catalog.store.schema import VERSION
from twinset_server.maintenance import Severity, Work

_ROWS = 4096

_UNIT_TOLERANCE = 1e-3
"""As at the put: see `store.entry`."""

_NULL = re.compile(r"NULL value in (\w+)\.(\w+)")

_PUT_ANEW = "delete the item, then put it again"


class Tables:
    """The tables of the database called `name`."""

    def __init__(self, name: str, findings: Findings, work: Work) -> None:
        """Tell `findings` of what is wrong."""
        self._name = name
        self._findings = findings
        self._work = work

    def check(self, state: Snapshot) -> bool:
        """Compare the tables; return whether what they tell of vectors and pictures can be relied upon.

        Raises:
            sqlite3.Error: the database can't be read.
            OperationCancelled: it was cancelled.
        """
        [(version,)] = state.connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchall()
        if version != VERSION:
            advice = f"check it with the twinset-server that wrote it, this one knows version {VERSION}"
            self._findings.add(Severity.ERROR, self._name, f"has schema version {version}", advice)
            return False
        self._database(state)
        if self._findings:
            # What a damaged file tells about vectors and pictures is no finding of theirs.
            return False
        counts = state.counts()
        self._findings.sequence = counts.sequence
        self._numbers(state)
        self._items(state, counts.items)
        self._vectors(state, counts.vectors)
        return True

    def _database(self, state: Snapshot) -> None:
        self._work.stage("checking the database")
        name = self._name
        for (problem,) in state.connection.execute("PRAGMA integrity_check").fetchall():
            if problem != "ok" and not _imagined(state, problem):
                self._findings.add(Severity.ERROR, name, problem.strip(), RESTORE)
        for table, row, parent, _ in state.connection.execute("PRAGMA foreign_key_check").fetchall():
            where = f"{name}: {table} {row}" if row is not None else f"{name}: {table}"
            self._findings.add(Severity.ERROR, where, f"belongs to a row of {parent} that isn't there", RESTORE)

    def _numbers(self, state: Snapshot) -> None:
        """Sequences and keys rise, and nothing has one that isn't given yet."""
        execute = state.connection.execute
        for table in ("items", "users", "interactions", "dead"):
            [(highest,)] = execute(f"SELECT max(seq) FROM {table}").fetchall()  # noqa: S608
            if highest is not None and highest > self._findings.sequence:
                text = f"has change {highest}, but the last one is {self._findings.sequence}"
                self._findings.add(Severity.ERROR, f"{self._name}: {table}", text, RESTORE)
        for table in ("items", "pictures", "users", "interactions"):
            [(counted, told)] = execute(
                f"SELECT count(*), (SELECT value FROM meta WHERE name = ?) FROM {table}",  # noqa: S608
                (table,),
            ).fetchall()
            if counted != told:
                text = f"holds {counted} rows, but {told} are told of"
                self._findings.add(Severity.WARNING, f"{self._name}: {table}", text, RESTORE)
        for table in ("items", "vectors", "users"):
            [(highest, given)] = execute(
                f"SELECT max(key), (SELECT seq FROM sqlite_sequence WHERE name = ?) FROM {table}",  # noqa: S608
                (table,),
            ).fetchall()
            if highest is not None and highest > (given or 0):
                text = f"has key {highest}, but the last one given is {given}"
                self._findings.add(Severity.ERROR, f"{self._name}: {table}", text, RESTORE)
        for (key,) in execute("SELECT vectors.key FROM dead JOIN vectors USING (key) LIMIT 100").fetchall():
            self._findings.add(Severity.ERROR, f"vectors {key}", "is stored, but recorded as ended", _PUT_ANEW)

    def _items(self, state: Snapshot, total: int) -> None:
        self._work.stage("checking attributes", "items", total)
        rows = state.connection.execute("SELECT id, attributes FROM items ORDER BY key")
        while chunk := rows.fetchmany(_ROWS):
            for item_id, attributes in chunk:
                try:
                    json.loads(attributes)
                except ValueError:
                    self._findings.add(
                        Severity.ERROR, f"item {item_id!r}", "has attributes that can't be read", PUT_AGAIN
                    )
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
                    self._findings.add(Severity.ERROR, subject.format(repr(owner)), text, PUT_AGAIN)
            values = np.frombuffer(b"".join(value for *_, value in fitting), "<f4").reshape(-1, dimension)
            finite = np.isfinite(values).all(axis=1)
            with np.errstate(invalid="ignore", over="ignore"):
                lengths = np.linalg.norm(values.astype(np.float64), axis=1)
            unit = (np.abs(lengths - 1) <= _UNIT_TOLERANCE) | (metric is not Metric.COSINE)
            for place in np.flatnonzero(~(finite & unit)):
                owner, key, _ = fitting[place]
                fault = "isn't of unit length" if finite[place] else "has a component that isn't finite"
                self._findings.add(Severity.ERROR, subject.format(repr(owner)), f"vector {key} {fault}", PUT_AGAIN)
            self._findings.vectors += len(chunk)
            self._work.advance(len(chunk))


def _imagined(state: Snapshot, problem: str) -> bool:
    """Return whether `problem` tells of a NULL that isn't there.

    SQLite 3.40 takes one column for another in tables without rowid whose primary key isn't their first columns.
    """
    match = _NULL.fullmatch(problem)
    if match is None:
        return False
    question = 'SELECT NOT EXISTS (SELECT 1 FROM "{}" WHERE "{}" IS NULL)'.format(*match.groups())  # noqa: S608
    return bool(state.connection.execute(question).fetchone()[0])
