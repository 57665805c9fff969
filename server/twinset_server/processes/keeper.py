"""The catalogue's folder, as the supervisor sees it: kept from other servers, and told which spaces there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinset_server.catalog import open_catalog
from twinset_server.config import Settings
from twinset_server.domain import Space


class Keeper:
    """Reads and declares the spaces of the folder that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def spaces(self) -> Mapping[str, Space]:
        """Return the spaces by name, the external ones of the settings among them.

        Raises:
            StartupError: another server uses the folder, it can't be used, or a space of it is another than the
                settings say.
        """
        async with open_catalog(self._settings.store, self._settings.spaces) as catalog:
            return catalog.spaces()

    async def declare(self, spaces: Sequence[Space]) -> None:
        """Add spaces that the model fills.

        Raises:
            StartupError: a space of this name is there, with another dimension, metric or fingerprint.
        """
        async with open_catalog(self._settings.store, self._settings.spaces) as catalog:
            for space in spaces:
                await catalog.add_space(space)
