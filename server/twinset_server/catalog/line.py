"""Searches that come at about the same time, and are made together.

gRPC hands calls over one by one, a few turns of the event loop apart. Each search made by itself puts the code and the
data of all else out of the caches, and reads the newest rows anew; together they cost as much as a batch. So whoever
comes first waits a few turns of the loop for others: a turn in which nothing happens takes a microsecond. Where nobody
came a few times, the next are answered at once, and only now and then one waits again. There is no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from twinset_server.catalog.asked import Asked, answer_briefly, asked_of
from twinset_server.catalog.index.views import Views
from twinset_server.domain import Search, SearchResult

_MOST = 16
"""So many are waited for at the most."""

_TURNS = 20
"""So many turns of the event loop without another search end the wait: gRPC takes up to a dozen to hand one over."""

_IN_VAIN = 4
_EVERY = 8
"""After so many waits in vain only every so manieth search waits."""

_LONGEST_S = 0.001
"""Nobody waits longer where turns are long: the event loop has other work then."""


class Answered(NamedTuple):
    """A search at one moment, and what it found; None where to search takes more than about two milliseconds."""

    asked: Asked
    result: SearchResult | None


class _Waiting(NamedTuple):
    search: Search
    answered: asyncio.Future[Answered]


class SearchLine:
    """Where searches without a filter meet. Used from one event loop."""

    def __init__(self, seen: Callable[[], Views | None], current: Callable[[], Awaitable[Views]]) -> None:
        """Begin with none.

        Args:
            seen: returns what searches read where that is known to hold all that is committed; else None.
            current: returns the same after a look at what was committed.
        """
        self._seen = seen
        self._current = current
        self._waiting: list[_Waiting] = []
        self._looking: set[asyncio.Task[None]] = set()
        self._in_vain = _IN_VAIN
        self._at_once = 0
        self._turns = 0
        self._came = 0
        self._since_s = 0.0

    async def answered(self, search: Search) -> Answered:
        """Return what is found in a state of the catalogue that holds all that was committed before the call.

        Raises:
            SpaceNotFound: the catalogue has no space of this name.
            BadVector: the query doesn't fit the space.
        """
        if self._is_alone():
            asked = asked_of(self._seen() or await self._current(), search)
            found = answer_briefly([asked])
            return Answered(asked, found[0] if found else None)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answered] = loop.create_future()
        self._waiting.append(_Waiting(search, answered))
        if len(self._waiting) == 1:
            self._came = self._turns = 0
            self._since_s = loop.time()
            loop.call_soon(self._wait)
        return await answered

    def _is_alone(self) -> bool:
        """Return whether a search that comes now waits for none: nobody is there, and nobody came the last times."""
        if self._waiting or self._in_vain < _IN_VAIN:
            return False
        self._at_once = (self._at_once + 1) % _EVERY
        return self._at_once > 0

    def _wait(self) -> None:
        """Wait another turn for others, or begin."""
        loop, came = asyncio.get_running_loop(), len(self._waiting)
        self._turns = self._turns + 1 if came == self._came else 0
        self._came = came
        if came < _MOST and self._turns < _TURNS and loop.time() - self._since_s < _LONGEST_S:
            loop.call_soon(self._wait)
            return
        # From here on others make a line of their own: what is looked at now may lack what was committed before them.
        waiting, self._waiting = self._waiting, []
        self._in_vain = 0 if came > 1 else self._in_vain + 1
        views = self._seen()
        if views is not None:
            self._answer(views, waiting)
            return
        task = loop.create_task(self._look(waiting))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _look(self, waiting: Sequence[_Waiting]) -> None:
        try:
            views = await self._current()
        except Exception as error:  # each caller must hear of it, whatever it is
            for one in waiting:
                if not one.answered.done():
                    one.answered.set_exception(error)
            return
        self._answer(views, waiting)

    def _answer(self, views: Views, waiting: Sequence[_Waiting]) -> None:
        """Answer as many as are brief together, and the others in the next turns."""
        # A caller who is gone isn't searched for.
        waiting = [one for one in waiting if not one.answered.done()]
        asked = [(one, found) for one in waiting if (found := _asked(views, one)) is not None]
        if not asked:
            return
        view = asked[0][1].view
        alike = [(one, of) for one, of in asked if of.view is view]
        others = [one for one, of in asked if of.view is not view]
        results: Sequence[SearchResult | None]
        try:
            results = answer_briefly([of for _, of in alike]) or [None]
        except Exception:  # who searches by himself fails by himself
            results = [None]
        for (one, of), result in zip(alike, results, strict=False):
            one.answered.set_result(Answered(of, result))
        left = [one for one, _ in alike[len(results) :]] + others
        if left:
            asyncio.get_running_loop().call_soon(self._answer, views, left)


def _asked(views: Views, waiting: _Waiting) -> Asked | None:
    """Return what a search asks of the moment; None where it can't be asked, which it is told then."""
    try:
        return asked_of(views, waiting.search)
    except Exception as error:  # whatever it is, the others are answered
        waiting.answered.set_exception(error)
        return None
