"""Puts what changed in a folder, and keeps account of it."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from twinset.cli.account import Account
from twinset.cli.attributes import Facts
from twinset.cli.problem import picture_fault
from twinset.client import Client
from twinset.errors import ResourceExhausted, TwinsetError, Unavailable
from twinset.folder import is_text
from twinset.images import PictureError, read_header
from twinset.items import Item, Picture, Vector

# Enough for one BatchGetItems to cost little per item, few enough for the answer to stay small.
_COMPARED_AT_ONCE = 200

# A Triton that is restarted is back within seconds.
TRIES = 5
"""How often an item is put that the server could not take at the moment."""


class FolderPut:
    """One run of `twinset put`."""

    def __init__(
        self,
        client: Client,
        pictures: Mapping[str, Path],
        facts: Mapping[str, Facts],
        *,
        progress: Callable[[Account], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to put.

        Args:
            client: where to.
            pictures: picture files by item id.
            facts: what is known of the items, by id.
            progress: called whenever `account` changes.
            sleep: waits some seconds.
        """
        self.account = Account(len(pictures))
        self._client = client
        self._pictures = pictures
        self._facts = facts
        self._progress = progress
        self._sleep = sleep
        self._losing_facts: set[str] = set()

    def run(self) -> None:
        """Put every picture that isn't in the catalogue as it is here.

        A bad file is noted in the account, and the rest go on. What the server could not take at the moment is put
        again after the time that it asked for.

        Raises:
            TwinsetError: the connection failed; `account` tells what was done until then.
        """
        ids: list[str] = []
        for item_id, path in self._pictures.items():
            if is_text(item_id):
                ids.append(item_id)
            else:
                self.account.failed[path] = "the file's name is not UTF-8: rename it"
        for attempt in itertools.count(1):
            later: dict[str, TwinsetError] = {}
            for result in self._client.put_items(self._changed(ids)):
                self.account.slowed_s = max(self.account.slowed_s, result.slowed_s)
                if result.error is None:
                    self.account.put += 1
                    self.account.stripped += result.id in self._losing_facts
                elif isinstance(result.error, Unavailable | ResourceExhausted) and attempt < TRIES:
                    later[result.id] = result.error
                else:
                    self.account.failed[self._pictures[result.id]] = picture_fault(result.error) or result.error.message
                self._progress(self.account)
            if not later:
                return
            self._sleep(max(error.retry_after_s or 1.0 for error in later.values()))
            ids = list(later)

    def _changed(self, ids: Iterable[str]) -> Iterator[Item]:
        for group in _groups(ids, _COMPARED_AT_ONCE):
            stored = self._client.get_items(group)
            for item_id in group:
                path = self._pictures[item_id]
                try:
                    content = path.read_bytes()
                    read_header(content)
                except OSError as error:
                    self.account.failed[path] = f"can't be read: {error.strerror}"
                except PictureError as error:
                    self.account.failed[path] = str(error)
                else:
                    item = item_of(item_id, content, self._facts.get(item_id, Facts()))
                    if item_id not in stored or differs(item, stored[item_id]):
                        if item_id in stored and has_facts(stored[item_id]) and not has_facts(item):
                            self._losing_facts.add(item_id)
                        yield item
                        continue
                    self.account.unchanged += 1
                self._progress(self.account)


def item_of(item_id: str, content: bytes | None, facts: Facts, vectors: Sequence[Vector] = ()) -> Item:
    """Return the item to put, without a picture where `content` is None."""
    pictures = () if content is None else (Picture(content),)
    return Item(item_id, pictures, facts.title, facts.uri, facts.category, facts.attributes, vectors)


def has_facts(item: Item) -> bool:
    """Return whether anything is known of the item besides its pictures and vectors."""
    return bool(item.title or item.uri or item.category or item.attributes)


def differs(item: Item, stored: Item) -> bool:
    """Return whether the catalogue has the item with other pictures or facts; vectors aren't looked at."""
    return (
        [hashlib.sha256(picture.content).hexdigest() for picture in item.pictures]
        != [p.sha256 for p in stored.pictures]
        or (item.title, item.uri, item.category) != (stored.title, stored.uri, stored.category)
        or _typed(item) != _typed(stored)
    )


def _typed(item: Item) -> dict[str, tuple[type, object]]:
    # 1, 1.0 and True are equal in Python and differ as attributes.
    return {name: (type(value), value) for name, value in item.attributes.items()}


def _groups(ids: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(ids)
    while group := tuple(itertools.islice(rest, size)):
        yield group
