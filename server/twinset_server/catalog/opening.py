"""How a catalogue is opened: by a supervisor for its workers, or by a process that is alone with it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping

from twinset_server.catalog.external import external_space
from twinset_server.catalog.folder import Folder, hold, join
from twinset_server.catalog.sqlite_catalog import SqliteCatalog
from twinset_server.catalog.store import models
from twinset_server.catalog.store import spaces as stored
from twinset_server.catalog.store.connection import WritingConnection
from twinset_server.catalog.threads import to_the_end
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import Space
from twinset_server.errors import StartupError


def declare_spaces(folder: Folder, spaces: Iterable[Space] = ()) -> dict[str, Space]:
    """Add `spaces` to the catalogue in `folder`, made where there is none, and return all that callers see, by name.

    Whoever holds the folder calls it before anybody opens the catalogue; the same space again changes nothing but the
    name of its model.

    Raises:
        StartupError: the database can't be used, or a space of one of these names is there, with another dimension,
        metric
            or fingerprint; then none is added.
    """
    try:
        connection = WritingConnection(folder)
        try:
            with connection.transaction():
                models.adopt(connection.sqlite)
                filled: dict[str, list[Space]] = {}
                for space in spaces:
                    if space.model is None:
                        stored.declare(connection.sqlite, space, str(folder.path))
                    else:
                        filled.setdefault(space.model, []).append(space)
                for model, ones in filled.items():
                    models.declare(connection.sqlite, model, ones, str(folder.path))
            return models.shown(connection.sqlite)
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise _unusable(folder, error) from error


@contextlib.asynccontextmanager
async def open_catalog(
    folder: Folder, settings: StoreSettings, *, builder_wait_s: float = 0.0, check_share: float = 0.0
) -> AsyncIterator[SqliteCatalog]:
    """Open the catalogue in `folder`, which this process or its supervisor holds and has declared the spaces of.

    At the end what was written is committed.

    Args:
        folder: the catalogue's.
        settings: how to keep it.
        builder_wait_s: how long a builder, where one runs, may take to write an index where there is none: with many
            vectors that is quicker than to read them all from the database.
        check_share: how many of all searches are made again exactly in the background, 0 to 1.
    Raises:
        StartupError: the database or the pictures' folder can't be used.
    """
    with join(folder):
        catalog = await to_the_end(_opened, folder, settings, builder_wait_s, check_share)
        try:
            yield catalog
        finally:
            await to_the_end(catalog.close)


@contextlib.asynccontextmanager
async def open_alone(
    settings: StoreSettings, external: Mapping[str, ExternalSpace], spaces: Iterable[Space] = ()
) -> AsyncIterator[SqliteCatalog]:
    """Open the catalogue in `settings.path` for this process alone, with the `external` and other `spaces` in it.

    Raises:
        StartupError: another server uses the folder, or it can't be used; see `hold` and `declare_spaces`.
    """
    with hold(settings.path) as folder:
        wanted = [*(external_space(name, section) for name, section in external.items()), *spaces]
        await to_the_end(declare_spaces, folder, wanted)
        async with open_catalog(folder, settings) as catalog:
            yield catalog


def _opened(folder: Folder, settings: StoreSettings, builder_wait_s: float, check_share: float) -> SqliteCatalog:
    try:
        catalog = SqliteCatalog(folder, settings, builder_wait_s=builder_wait_s, check_share=check_share)
        catalog.start()
    except (sqlite3.Error, OSError) as error:
        raise _unusable(folder, error) from error
    return catalog


def _unusable(folder: Folder, error: sqlite3.Error | OSError) -> StartupError:
    if isinstance(error, OSError):
        return StartupError(
            f"the catalogue's folder {folder.path} can't be prepared ({error}): give this user write permission there"
        )
    return StartupError(
        f"{folder.database} can't be read ({error}): check its disk, or restore the folder from a backup"
    )
