"""All items anew: a feed is checked and embedded message by message, and becomes the catalogue at its commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from twinset_server.domain import FeedSummary, ItemDraft, WritableItem
from twinset_server.errors import FeedHasFailures, FeedIsEmpty, InvalidRequest, TwinsetError
from twinset_server.ingest import Ingest
from twinset_server.ports import Feed

_NAMED = 3
"""Failed ids that a refused commit names."""


@dataclass(frozen=True, slots=True)
class FeedOutcome:
    """What became of an item of a feed: it counts at the commit unless `error` says why not."""

    id: str
    unchanged: bool = False
    error: TwinsetError | None = None
    category_unknown: bool = False


@dataclass(frozen=True, slots=True)
class FeedPart:
    """A message of a feed, prepared: per item what to stage, None where it is stored just so, or its error."""

    ids: Sequence[str]
    items: Sequence[WritableItem | TwinsetError | None]


class FeedSession:
    """One feed from its first message to its commit.

    Parts are prepared side by side and staged in order: of two items of one id the later counts.
    """

    def __init__(self, feed: Feed, ingest: Ingest) -> None:
        self._feed = feed
        self._ingest = ingest
        self._holds_items = False
        self._failed: set[str] = set()

    @property
    def failed(self) -> int:
        """Ids whose latest item failed."""
        return len(self._failed)

    async def prepare(
        self, ids: Sequence[str], drafts: Sequence[ItemDraft | TwinsetError], *, timeout_s: float
    ) -> FeedPart:
        """Return a part ready to stage; what is stored just so is not embedded again.

        Args:
            ids: of the items as they were sent.
            drafts: the items; an error stands for one that could not even be read.
            timeout_s: time left of the caller's deadline.
        Raises:
            TwinsetError: the store failed, and the feed with it.
        """
        inspected = await self._ingest.inspect(list(_feedable(drafts)))
        digests = {item.draft.id: item.digest for item in inspected if not isinstance(item, TwinsetError)}
        same = await self._feed.unchanged(digests) if digests else set()
        fresh = [item for item in inspected if isinstance(item, TwinsetError) or item.draft.id not in same]
        made = iter(await self._ingest.complete(fresh, timeout_s=timeout_s))
        items = [
            None if not isinstance(item, TwinsetError) and item.draft.id in same else next(made) for item in inspected
        ]
        return FeedPart(ids, items)

    async def stage(self, part: FeedPart) -> list[FeedOutcome]:
        """Keep a part for the commit, after all parts before it.

        Raises:
            TwinsetError: the store failed, and the feed with it.
        """
        fresh = [item for item in part.items if isinstance(item, WritableItem)]
        errors = iter(await self._feed.stage(fresh) if fresh else ())
        outcomes: list[FeedOutcome] = []
        for item_id, item in zip(part.ids, part.items, strict=True):
            error = next(errors) if isinstance(item, WritableItem) else item
            unknown = isinstance(item, WritableItem) and item.category_unknown
            outcomes.append(FeedOutcome(item_id, item is None, error, unknown))
        # Also where an earlier item of the same id was staged. What failed must not be taken for lacking.
        if stays := [outcome.id for outcome in outcomes if outcome.unchanged or outcome.error]:
            await self._feed.keep(stays)
        self._count(outcomes)
        return outcomes

    async def commit(self, *, allow_failed: bool, allow_empty: bool) -> FeedSummary:
        """Make the feed the catalogue.

        Raises:
            FeedHasFailures: items failed, and `allow_failed` isn't set; nothing was changed.
            FeedIsEmpty: no item counts, and `allow_empty` isn't set; nothing was changed.
            TwinsetError: the store failed; nothing was changed.
        """
        if self._failed and not allow_failed:
            named = ", ".join(repr(item_id) for item_id in sorted(self._failed)[:_NAMED])
            raise FeedHasFailures(
                "commit.allow_failed",
                f"{len(self._failed)} items of the feed failed, such as {named}, and nothing was changed: send them "
                "again mended within the feed, or set commit.allow_failed to keep what is stored under their ids",
            )
        if not self._holds_items and not allow_empty:
            raise FeedIsEmpty(
                "commit.allow_empty",
                "the feed holds no items, and nothing was changed: set commit.allow_empty to delete all items",
            )
        return await self._feed.commit()

    def _count(self, outcomes: Iterable[FeedOutcome]) -> None:
        for outcome in outcomes:
            if outcome.error is None:
                self._holds_items = True
                self._failed.discard(outcome.id)
            else:
                self._failed.add(outcome.id)


def _feedable(drafts: Sequence[ItemDraft | TwinsetError]) -> Iterator[ItemDraft | TwinsetError]:
    seen: set[str] = set()
    for draft in drafts:
        if isinstance(draft, TwinsetError):
            yield draft
        elif draft.etag:
            yield InvalidRequest("etag", "is set: a feed replaces whatever is stored, leave it empty")
        elif draft.id in seen:
            yield InvalidRequest("id", f"{draft.id!r} is there twice in one message")
        else:
            seen.add(draft.id)
            yield draft
