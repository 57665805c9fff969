"""How many likes items got: what is left to go by for somebody of whom nothing is known."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from twinset_server.ports import Catalog


class Popularity:
    """Counts the likes of all stored interactions, each once; one for all calls of a process.

    What a user did who was deleted since stays counted until the process ends: nothing in a count leads back to them.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._one = asyncio.Lock()
        self._liked_from: float | None = None
        self._counts: Counter[str] = Counter()
        self._order: list[str] | None = None
        self._sequence = 0

    async def counts(self, liked_from: float | None) -> Mapping[str, int]:
        """Return how many likes each item got that got any; `liked_from` is the least weight of one."""
        async with self._one:
            if liked_from != self._liked_from:
                self._counts, self._order, self._sequence, self._liked_from = Counter(), None, 0, liked_from
            found = await self._catalog.likes(after=self._sequence, liked_from=liked_from)
            if found.counts:
                self._counts.update(found.counts)
                self._order = None
            self._sequence = found.sequence
            return self._counts

    def order(self) -> list[str]:
        """Return the items of `counts`, the most liked first, equal ones in the byte order of their ids."""
        if self._order is None:
            self._order = sorted(self._counts, key=lambda item_id: (-self._counts[item_id], item_id.encode()))
        return self._order
