"""Vectors of stored pictures, made by a model beside the one that serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from twinset.known_answer import UNKNOWN_CATEGORY
from twinset_server.domain import ItemVector, PendingItem, Recomputed
from twinset_server.embedding import Outputs, PictureEmbedder
from twinset_server.errors import (
    BadPicture,
    Cancelled,
    DeadlineExceeded,
    EmbedderUnavailable,
    Exhausted,
    NotFound,
    PictureNotStored,
    TwinsetError,
)
from twinset_server.lineage.seams import ModelStore
from twinset_server.maintenance import Work

BATCH = 8
"""Items embedded at a time: a kill loses no more, and a picture of 20 MiB of each fits in memory."""

_TIMEOUT_S = 60.0
_TRIES = 30
_PAUSE_S = 2.0
"""A Triton that restarts is waited for, a minute in all."""

_UNREADABLE = (BadPicture, NotFound, PictureNotStored)

_log = logging.getLogger(__name__)


class Filling:
    """Makes the vectors of one generation.

    Attributes:
        items: how many items got vectors so far.
        pictures: how many pictures were embedded for them.
    """

    def __init__(self, store: ModelStore, number: int, spaces: Sequence[str], pictures: PictureEmbedder) -> None:
        """Fill `spaces` of the generation `number`, with the model of `pictures`."""
        self._store = store
        self._number = number
        self._pictures = pictures
        contract = pictures.embedder.contract
        self._spaces = {one.output: one.name for one in contract.spaces if one.name in spaces}
        self._takes_category = contract.takes_category(self._spaces)
        self.items = 0
        self.pictures = 0

    async def run(self, work: Work, *, most: int, max_per_second: float = 0.0) -> int:
        """Return how many of the first `most` pending items were done; fewer where there are no more.

        Raises:
            OperationCancelled: `work` was cancelled; what was made is kept.
            TwinsetError: the store or the model failed.
        """
        loop = asyncio.get_running_loop()
        began_s, before = loop.time(), self.pictures
        done = 0
        while done < most and (pending := await self._store.pending(self._number, BATCH)):
            await self._store.add(self._number, await self.recomputed(pending))
            done += len(pending)
            work.advance(len(pending))
            if max_per_second > 0:
                due_s = began_s + (self.pictures - before) / max_per_second
                while (left_s := due_s - loop.time()) > 0:
                    await asyncio.sleep(min(left_s, 0.5))
                    work.check()
        return done

    async def recomputed(self, pending: Sequence[PendingItem]) -> list[Recomputed]:
        """Return the items with the vectors that they lack; one whose pictures can't be read gets none."""
        found = await asyncio.gather(*map(self._item, pending), return_exceptions=True)
        made: list[Recomputed] = []
        for item, vectors in zip(pending, found, strict=True):
            if isinstance(vectors, BaseException):
                raise vectors
            made.append(Recomputed(item, vectors))
        return made

    async def _item(self, item: PendingItem) -> list[ItemVector]:
        # Vectors of another category are of no use; which one they are of, nobody wrote down.
        made = frozenset[str]() if self._takes_category else item.made
        vectors: list[ItemVector] = []
        for picture_id in item.picture_ids:
            if picture_id in made or not self._spaces:
                continue
            try:
                outputs = await self._embedded(item, picture_id)
            except _UNREADABLE as error:
                _log.warning("picture %r of item %r gets no vector: %s", picture_id, item.id, error)
                continue
            vectors += [ItemVector(space, picture_id, outputs[output]) for output, space in self._spaces.items()]
            self.pictures += 1
        self.items += bool(vectors)
        return vectors

    async def _embedded(self, item: PendingItem, picture_id: str) -> Outputs:
        stored = await self._store.picture(item.id, picture_id)
        contract = self._pictures.embedder.contract
        category = contract.category_index(item.category) or UNKNOWN_CATEGORY
        failure: TwinsetError = Cancelled("nothing was asked")
        for _ in range(_TRIES):
            (result,) = await self._pictures.embed(
                [stored.content], tuple(self._spaces), timeout_s=_TIMEOUT_S, urgent=False, categories=[category]
            )
            if not isinstance(result, TwinsetError):
                return result
            failure = result
            if not isinstance(result, EmbedderUnavailable | Exhausted | DeadlineExceeded):
                break
            await asyncio.sleep(_PAUSE_S)
        raise failure
