"""New indexes from the stored vectors alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from twinset_server.catalog.store.schema import open_reader
from twinset_server.errors import SpaceNotFound
from twinset_server.maintenance import Handle, Work


def named_spaces(database: Path, space: str) -> Sequence[str]:
    """Return what the space is stored under, in all generations of models, or all names where it is empty.

    Raises:
        SpaceNotFound: the catalogue has none of this name.
        sqlite3.Error: the database can't be read.
    """
    with contextlib.closing(open_reader(database)) as connection:
        found = connection.execute(
            "SELECT spaces.name, coalesce(model_spaces.name, spaces.name) FROM spaces"
            " LEFT JOIN model_spaces ON space = key ORDER BY spaces.name"
        ).fetchall()
    names = sorted({stored for stored, name in found if not space or name == space})
    if not names and space:
        raise SpaceNotFound(space, {name for _, name in found})
    return names


async def rebuild(handle: Handle, spaces: Sequence[str], work: Work, *, alone: bool) -> None:
    """Have the index of each space built anew; with `alone` no older generation is kept.

    Raises:
        OperationCancelled: it was cancelled; the space that was being built has the index that it had.
    """
    for space in spaces:
        work.stage(f"building the index of {space}", "percent", 100)
        # Closed in every case: that is how the builder learns that it needn't go on.
        async with contextlib.aclosing(handle.rebuild(space, alone=alone)) as shares:
            async for share in shares:
                work.reach(int(share * 100))
