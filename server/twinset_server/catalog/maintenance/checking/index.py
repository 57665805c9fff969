"""The generations of the index against the vectors stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import numpy as np

from twinset_server.catalog.folder import Folder
from twinset_server.catalog.index.checksums import Unsound
from twinset_server.catalog.index.manifest import OpenGeneration
from twinset_server.catalog.index.rows import Int64Array
from twinset_server.catalog.maintenance.checking.findings import REBUILD, Findings
from twinset_server.catalog.maintenance.generations import differing, keys, places, unreachable
from twinset_server.catalog.maintenance.snapshot import Snapshot, snapshot
from twinset_server.catalog.store import spaces
from twinset_server.domain import Float32Array
from twinset_server.maintenance import Severity, Work

_SAMPLE = 256
"""Stored vectors that each generation is asked for."""


def check_generations(folder: Folder, connection: sqlite3.Connection, findings: Findings, work: Work) -> None:
    """Compare every generation of every space, and tell `findings` of what is wrong.

    Raises:
        sqlite3.Error: the database can't be read.
        OperationCancelled: it was cancelled.
    """
    listed = places(folder.index)
    work.stage("checking the index", "generations", len(listed))
    known = {str(key): space for key, space in spaces.keyed(connection).values()}
    for place in listed:
        space = known.get(place.home.name)
        subject = str(place.manifest.relative_to(folder.path))
        if space is None:
            findings.add(Severity.WARNING, subject, "is of a space that isn't there", f"remove {place.home}")
        else:
            try:
                opened = place.opened(space, work)
                # Begun after the generation was read: it knows all changes that the generation does.
                with snapshot(folder.database, work) as state:
                    differences = _differences(state, opened, int(place.home.name))
                # Of one that was removed meanwhile the changes since may be forgotten.
                if place.exists:
                    for text in differences:
                        findings.add(Severity.WARNING, subject, text, REBUILD)
            except Unsound as error:
                # The builder removes old ones.
                if place.exists:
                    findings.add(Severity.WARNING, subject, f"can't be used: {error}", REBUILD)
        findings.generations += 1
        work.advance()


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
