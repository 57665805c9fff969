"""Bugs planted on purpose, in the process that asks for one: each harness must find its own."""

from __future__ import annotations

import os
import sqlite3
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twinset_server.catalog.index import checksums, manifest, segment_writer
from twinset_server.catalog.store import answers, connection, pictures, schema, writer
from twinset_server.domain import Receipt


def early_acknowledgement() -> None:
    """Tell callers before the commit."""
    commit = writer.Writer._commit

    def eager(self: writer.Writer, writes: Sequence[Any], contents: Any) -> Any:
        for write in writes:
            write.reply.give([Receipt("0", 0)] * len(write.changes))
        return commit(self, writes, contents)

    writer.Writer._commit = eager  # type: ignore[method-assign]


def unsynced_commits() -> None:
    """Have SQLite leave its log to the kernel."""
    opened = schema.open_writer

    def unsafe(path: Path) -> sqlite3.Connection:
        made = opened(path)
        made.execute("PRAGMA synchronous = OFF")
        return made

    connection.open_writer = unsafe  # type: ignore[attr-defined]


def unsynced_pictures() -> None:
    """Give picture files their names before their contents are on disk."""
    pictures.os = types.SimpleNamespace(fsync=lambda descriptor: None)  # type: ignore[attr-defined]


def unsynced_renames() -> None:
    """Rename manifests, and remove what they replace, without a sync of the directory."""
    manifest.sync = lambda path: None  # type: ignore[attr-defined]


def unsynced_segments() -> None:
    """Publish manifests that name files whose contents aren't on disk."""
    checksums.os = types.SimpleNamespace(**{**vars(os), "fsync": lambda descriptor: None})  # type: ignore[attr-defined]
    segment_writer._sync_file = lambda path: None  # type: ignore[assignment]


def unchecked_files() -> None:
    """Open files of the index without comparing their checksums."""
    checksums._digest = lambda pages, stopped: _Anything()  # type: ignore[assignment, return-value]


def reused_keys() -> None:
    """Let SQLite give the key of a vector that is gone to another one."""
    tables = schema._TABLES
    before, after = tables.split("CREATE TABLE vectors (", 1)
    after = after.replace("AUTOINCREMENT", "", 1)
    schema._TABLES = f"{before}CREATE TABLE vectors ({after}"


def forgotten_requests() -> None:
    """Make a repeated request again."""
    answers.recall = lambda *_: None  # type: ignore[assignment]


class _Anything(str):
    """Equals every checksum."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (
        early_acknowledgement,
        unsynced_commits,
        unsynced_pictures,
        unsynced_renames,
        unsynced_segments,
        unchecked_files,
        reused_keys,
        forgotten_requests,
    )
}


def plant(name: str) -> None:
    """Plant the bug of this name; none where it is empty."""
    if name:
        BUGS[name]()


def plant_in_children(name: str, folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which every Python process of the server has the bug; `folder` takes a file for that."""
    # Python imports this module when it starts.
    (folder / "sitecustomize.py").write_text(f"from faults import planted\nplanted.plant({name!r})\n")
    path = [str(folder), str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}
