"""New indexes from the stored vectors alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from twinset_server.catalog.store.schema import open_reader
from twinset_server.errors import SpaceNotFound
from twinset_server.maintenance import Handle, Work


def named_spaces(database: Path, space: str) -> Sequence[str]:
    """Return `[space]`, or all spaces by name where it is empty.

    Raises:
        SpaceNotFound: the catalogue has none of this name.
        sqlite3.Error: the database can't be read.
    """
    with contextlib.closing(open_reader(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM spaces ORDER BY name")]
    if not space:
        return names
    if space not in names:
        raise SpaceNotFound(space, names)
    return [space]


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
