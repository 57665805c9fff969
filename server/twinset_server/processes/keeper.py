"""The catalogue's folder, as the supervisor sees it: kept from other servers, and told which spaces there are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

from twinset_server.catalog import Folder, declare_spaces, external_space, hold, kept_factors
from twinset_server.config import Settings
from twinset_server.domain import Space


class Keeper:
    """Reads and declares the spaces of a folder that this process holds; `keeping` makes it."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self._folder = folder
        self._external = [external_space(name, section) for name, section in settings.spaces.items()]

    async def spaces(self) -> Mapping[str, Space]:
        """Return the spaces by name, the external ones of the settings among them.

        Raises:
            StartupError: the folder can't be used, or a space of it is another than the settings say.
        """
        return await asyncio.to_thread(declare_spaces, self._folder, self._external)

    async def declare(self, spaces: Sequence[Space]) -> None:
        """Add spaces that the model fills.

        Raises:
            StartupError: a space of this name is there, with another dimension, metric or fingerprint.
        """
        await asyncio.to_thread(declare_spaces, self._folder, spaces)

    async def kept_factors(self) -> frozenset[str]:
        """Return the fingerprints of the factors that serve or can be gone back to.

        Raises:
            StoreUnavailable: the database failed.
        """
        return await asyncio.to_thread(kept_factors, self._folder)


@contextlib.contextmanager
def keeping(settings: Settings) -> Iterator[Keeper]:
    """Hold the folder that the settings name while the context is open.

    Raises:
        StartupError: another server uses the folder, or it can't be used.
    """
    with hold(settings.store.path) as folder:
        yield Keeper(folder, settings)
