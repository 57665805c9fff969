"""Changes into the catalogue: check, embed what needs it, commit."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from twinset_server import limits
from twinset_server.digests import item_digest
from twinset_server.domain import (
    Change,
    Interaction,
    ItemDeletion,
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    ItemVector,
    NewPicture,
    PictureDraft,
    Prepared,
    Refused,
    StoredVectors,
    UserDeletion,
    UserDraft,
    Vector,
    WritableItem,
    WritableUser,
    Written,
)
from twinset_server.embedding import Pictures
from twinset_server.errors import ModelSwitched, TwinsetError
from twinset_server.item_updates import ItemUpdates
from twinset_server.item_vectors import FromPictures, ItemVectors, Wanted, inspected
from twinset_server.ports import Catalog

_SLICE = 16
"""Elements looked at before other calls have their turn: about half a millisecond."""

_SWITCHES = 3
"""So often vectors are made again where another model came to serve meanwhile, which takes an operator each time."""

_AGAIN_S = 30.0
"""How long that may take."""

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Inspected:
    """A checked item that lacks nothing but its pictures' vectors. `vectors` are those that the caller brought."""

    draft: ItemDraft
    pictures: Sequence[NewPicture]
    vectors: Sequence[ItemVector]
    digest: bytes


class Ingest:
    """Turns what callers send into durable changes.

    Preparing and committing are apart so that a stream can prepare several messages at once and still commit them in
    order. Preparing gives per element the change, or the error that befell this one alone; an error that is given
    stands for an element that could not even be read.
    """

    def __init__(self, catalog: Catalog, pictures: Pictures, fill_category: str | None = None) -> None:
        """Change `catalog`; `fill_category` is the output that tells the category of items that lack one."""
        self._catalog = catalog
        self._vectors = ItemVectors(catalog, pictures, fill_category)
        self._updates = ItemUpdates(catalog, self._vectors)

    async def items(
        self, drafts: Sequence[ItemDraft | TwinsetError], *, timeout_s: float
    ) -> list[WritableItem | TwinsetError]:
        """Return the items with all their vectors. `timeout_s` is the time left of the caller's deadline."""
        return await self.complete(await self.inspect(drafts), timeout_s=timeout_s)

    async def inspect(self, drafts: Sequence[ItemDraft | TwinsetError]) -> list[Inspected | TwinsetError]:
        """Return the items as far as they can be told without a model's work."""

        def make(draft: ItemDraft) -> Inspected | Coroutine[Any, Any, Inspected]:
            limits.check_item(draft)
            return self._inspect_pictures(draft) if draft.pictures else self._inspect(draft, ())

        return await _each(drafts, make)

    async def complete(
        self, items: Sequence[Inspected | TwinsetError], *, timeout_s: float
    ) -> list[WritableItem | TwinsetError]:
        """Return inspected items with all their vectors; what is stored of the same pictures isn't embedded again."""
        pictures = {item.draft.id: item.pictures for item in items if isinstance(item, Inspected)}
        try:
            stored = await self._vectors.stored(pictures)
        except TwinsetError as error:
            # What befell all of them befalls each.
            return [error if isinstance(item, Inspected) else item for item in items]

        def make(item: Inspected) -> WritableItem | Coroutine[Any, Any, WritableItem]:
            if not item.pictures:
                return _writable(item, FromPictures(()))
            return self._complete(item, stored.get(item.draft.id), timeout_s)

        return await _each(items, make)

    async def updates(
        self, drafts: Sequence[ItemUpdateDraft | TwinsetError], *, timeout_s: float
    ) -> list[ItemUpdate | TwinsetError]:
        """Return the updates; see `ItemUpdates` for which of them need a model's work."""

        def make(draft: ItemUpdateDraft) -> ItemUpdate | Coroutine[Any, Any, ItemUpdate]:
            limits.check_update(draft)
            return self._updates.make(draft, timeout_s)

        return await _each(drafts, make)

    async def users(self, drafts: Sequence[UserDraft | TwinsetError]) -> list[WritableUser | TwinsetError]:
        """Return the users with their vectors."""

        def make(draft: UserDraft) -> WritableUser:
            limits.check_user(draft)
            return WritableUser(draft.id, draft.attributes, self._vectors.own(draft.vectors), draft.etag)

        return await _each(drafts, make)

    async def deletions(self, given: Sequence[ItemDeletion]) -> list[ItemDeletion | TwinsetError]:
        """Return the deletions, each checked."""

        def make(deletion: ItemDeletion) -> ItemDeletion:
            limits.check_id("id", deletion.id)
            limits.check_etag(deletion.etag)
            return deletion

        return await _each(given, make)

    async def user_deletions(self, given: Sequence[UserDeletion]) -> list[UserDeletion | TwinsetError]:
        """Return the ends of users, each checked."""

        def make(deletion: UserDeletion) -> UserDeletion:
            limits.check_id("id", deletion.id)
            return deletion

        return await _each(given, make)

    async def interactions(self, given: Sequence[Interaction | TwinsetError]) -> list[Interaction | TwinsetError]:
        """Return the interactions, each checked."""

        def make(interaction: Interaction) -> Interaction:
            limits.check_interaction(interaction)
            return interaction

        return await _each(given, make)

    async def commit(
        self,
        kind: type[Prepared],
        ids: Sequence[str],
        changes: Sequence[Prepared | TwinsetError],
        *,
        request_id: str = "",
        digest: bytes = b"",
    ) -> Written:
        """Make the changes durable; per element its receipt, or why there is none.

        Args:
            kind: of all of the changes, also of those that failed.
            ids: of the changes as they were sent.
            changes: what was prepared.
            request_id: the caller's name for them, or empty.
            digest: of what the caller sent under this name.
        """
        given: list[Change] = [
            Refused(kind, sent, change) if isinstance(change, TwinsetError) else change
            for sent, change in zip(ids, changes, strict=True)
        ]
        written = await self._written(given, request_id, digest)
        for _ in range(_SWITCHES):
            stale = [place for place, one in enumerate(written.outcomes) if isinstance(one, ModelSwitched)]
            if not stale:
                break
            await self._catalog.state()  # from here on this process knows of the switch
            made = await asyncio.gather(*(_or_error(self._made_again(given[place])) for place in stale))
            for place, again in zip(stale, made, strict=True):
                given[place] = Refused(kind, ids[place], again) if isinstance(again, TwinsetError) else again
            if request_id:
                # What was made is answered by its receipt.
                written = await self._written(given, request_id, digest)
            else:
                written = _with(written, stale, await self._written([given[place] for place in stale], "", b""))
        return written

    async def _written(self, given: Sequence[Change], request_id: str, digest: bytes) -> Written:
        try:
            return await self._catalog.write(given, request_id=request_id, digest=digest)
        except TwinsetError as error:
            # What befell all of them befalls each: the stream goes on with the next message.
            return Written([change.error if isinstance(change, Refused) else error for change in given])

    async def _made_again(self, change: Change) -> Change:
        """Return a change with the vectors of the model that serves by now.

        Raises:
            FingerprintMismatch: the caller brought a vector of the model before.
        """
        match change:
            case WritableItem():
                return await self._item_again(change)
            case ItemUpdate():
                made = self._updates.make(_draft(change), _AGAIN_S)
                return await made if isinstance(made, Coroutine) else made
            case WritableUser():
                return dataclasses.replace(change, vectors=self._vectors.own(_brought(change.vectors)))
            case _:
                return change

    async def _item_again(self, item: WritableItem) -> WritableItem:
        own = self._vectors.own(_brought(item.vectors))
        category = item.category if item.category_probability is None else ""
        wanted = Wanted(taken={vector.space for vector in own}, category=category)
        made = await self._vectors.make(item.pictures, wanted, _AGAIN_S)
        # The digest tells of the model before; without one, a feed puts the item again.
        return dataclasses.replace(item, vectors=[*own, *made.vectors], digest=b"")

    def _inspect(self, draft: ItemDraft, pictures: Sequence[NewPicture]) -> Inspected:
        own = self._vectors.own(draft.vectors)
        models = self._vectors.fingerprints({vector.space for vector in own}) if pictures else {}
        classifier = self._vectors.classifier() if pictures and not draft.category else ""
        return Inspected(draft, pictures, own, item_digest(draft, pictures, own, models, classifier))

    async def _inspect_pictures(self, draft: ItemDraft) -> Inspected:
        return self._inspect(draft, await asyncio.to_thread(inspected, draft.pictures))

    async def _complete(self, item: Inspected, stored: StoredVectors | None, timeout_s: float) -> WritableItem:
        category = item.draft.category
        wanted = Wanted(
            taken={vector.space for vector in item.vectors},
            category=category,
            predicted=self._vectors.fills_categories and not category,
            stored=stored,
        )
        made = await self._vectors.make(item.pictures, wanted, timeout_s)
        return _writable(item, made, category_unknown=self._vectors.is_unknown(category))


def _writable(item: Inspected, made: FromPictures, *, category_unknown: bool = False) -> WritableItem:
    draft = item.draft
    prediction = made.prediction or draft.guess
    return WritableItem(
        id=draft.id,
        title=draft.title,
        uri=draft.uri,
        category=draft.category if prediction is None else prediction.class_name,
        attributes=draft.attributes,
        pictures=item.pictures,
        vectors=[*item.vectors, *made.vectors],
        etag=draft.etag,
        digest=item.digest,
        category_probability=None if prediction is None else prediction.probability,
        category_unknown=category_unknown,
    )


def _brought(vectors: Sequence[ItemVector]) -> list[Vector]:
    """Return those that a caller brought."""
    return [Vector(one.space, one.values, one.fingerprint or None) for one in vectors if not one.picture_id]


def _draft(update: ItemUpdate) -> ItemUpdateDraft:
    """Return the update as its caller gave it."""
    pictures = update.pictures
    return ItemUpdateDraft(
        id=update.id,
        etag=update.etag,
        title=update.title,
        uri=update.uri,
        category=update.category,
        attributes=update.attributes,
        changed_attributes=update.changed_attributes,
        pictures=None if pictures is None else [PictureDraft(new.picture.id, new.content) for new in pictures],
        vectors=_brought(update.vectors or ()) or None,
    )


def _with(written: Written, places: Sequence[int], again: Written) -> Written:
    """Return what became of all, where those at `places` were made again."""
    outcomes = list(written.outcomes)
    for place, outcome in zip(places, again.outcomes, strict=True):
        outcomes[place] = outcome
    return Written(outcomes, written.slowed_s + again.slowed_s)


async def _each(
    given: Sequence[Given | TwinsetError], make: Callable[[Given], Made | Coroutine[Any, Any, Made]]
) -> list[Made | TwinsetError]:
    """Return what is made of each element, or the error that befell it; what has to wait waits side by side.

    What can be made at once costs no task: a task an item would cost more than the item.
    """
    outcomes: list[Made | TwinsetError | None] = []
    waiting: list[tuple[int, Coroutine[Any, Any, Made]]] = []
    for place, element in enumerate(given):
        if place % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        outcome: Made | TwinsetError | None = None
        if isinstance(element, TwinsetError):
            outcome = element
        else:
            try:
                made = make(element)
            except TwinsetError as error:
                outcome = error
            else:
                if isinstance(made, Coroutine):
                    waiting.append((place, made))
                else:
                    outcome = made
        outcomes.append(outcome)
    if waiting:
        async with asyncio.TaskGroup() as group:
            tasks = [(place, group.create_task(_or_error(coroutine))) for place, coroutine in waiting]
        for place, task in tasks:
            outcomes[place] = task.result()
    # None is left nowhere: mypy can't see it.
    return cast("list[Made | TwinsetError]", outcomes)


async def _or_error(made: Coroutine[Any, Any, Made]) -> Made | TwinsetError:
    try:
        return await made
    except TwinsetError as error:
        return error
