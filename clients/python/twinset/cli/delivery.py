"""Puts items that differ from those in the catalogue, and keeps account of them."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twinset.cli.account import Account
from twinset.cli.attributes import Facts
from twinset.cli.problem import picture_fault
from twinset.client import Client
from twinset.errors import ResourceExhausted, TwinsetError, Unavailable
from twinset.images import PictureError, read_header
from twinset.items import Item, Picture, Vector

# A Triton that is restarted is back within seconds.
TRIES = 5
"""How often an item is put that the server could not take at the moment."""


class UnreadablePicture(Exception):
    """A file holds no picture that the server would take; the text is the reason."""


class Delivery:
    """The way of items into a catalogue; `account` tells what became of them."""

    def __init__(
        self,
        client: Client,
        account: Account,
        *,
        progress: Callable[[Account], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to put.

        Args:
            client: where to.
            account: what becomes of the items.
            progress: called whenever `account` changes.
            sleep: waits some seconds.
        """
        self.account = account
        self._client = client
        self._progress = progress
        self._sleep = sleep
        self._losing_facts: set[str] = set()

    def put(
        self,
        ids: Sequence[str],
        make: Callable[[Sequence[str]], Iterator[Item]],
        place: Callable[[str], Path | str],
    ) -> None:
        """Put items; a bad one is noted, and what the server could not take at the moment is put again.

        Args:
            ids: of the items, each once.
            make: returns those of some ids that are to be put; called again for those put again.
            place: returns where an id comes from, for the account.

        Raises:
            TwinsetError: the connection failed; `account` tells what was done until then.
        """
        for attempt in itertools.count(1):
            later: dict[str, TwinsetError] = {}
            for result in self._client.put_items(make(ids)):
                self.account.slowed_s = max(self.account.slowed_s, result.slowed_s)
                if result.error is None:
                    self.account.put += 1
                    self.account.stripped += result.id in self._losing_facts
                elif isinstance(result.error, Unavailable | ResourceExhausted) and attempt < TRIES:
                    later[result.id] = result.error
                else:
                    self.account.failed[place(result.id)] = picture_fault(result.error) or result.error.message
                self._progress(self.account)
            if not later:
                return
            self._sleep(max(error.retry_after_s or 1.0 for error in later.values()))
            ids = list(later)

    def is_news(self, item: Item, stored: Item | None, *, same_vectors: bool = True) -> bool:
        """Return whether the item is to be put; where it isn't, it is noted as unchanged.

        Args:
            item: as it is here.
            stored: as the catalogue has it, None where it doesn't.
            same_vectors: whether `stored` has the vectors that the item is to have.
        """
        if stored is not None and same_vectors and not _differs(item, stored):
            self.account.unchanged += 1
            self._progress(self.account)
            return False
        if stored is not None and _has_facts(stored) and not _has_facts(item):
            self._losing_facts.add(item.id)
        return True

    def fail(self, place: Path | str, reason: str) -> None:
        """Note that what comes from `place` can't be put."""
        self.account.failed[place] = reason
        self._progress(self.account)


def read_picture(path: Path) -> bytes:
    """Return the content of a picture's file, whose header was looked at.

    Raises:
        UnreadablePicture: the file can't be read, or is no picture that the server would take.
    """
    try:
        content = path.read_bytes()
        read_header(content)
    except OSError as error:
        raise UnreadablePicture(f"can't be read: {error.strerror}") from error
    except PictureError as error:
        raise UnreadablePicture(str(error)) from error
    return content


def item_of(item_id: str, content: bytes | None, facts: Facts, vectors: Sequence[Vector] = ()) -> Item:
    """Return the item to put, without a picture where `content` is None."""
    pictures = () if content is None else (Picture(content),)
    return Item(item_id, pictures, facts.title, facts.uri, facts.category, facts.attributes, vectors)


def _has_facts(item: Item) -> bool:
    """Return whether anything is known of the item besides its pictures and vectors."""
    return bool(item.title or item.uri or item.own_category or item.attributes)


def _differs(item: Item, stored: Item) -> bool:
    """Return whether the catalogue has the item with other pictures or facts; vectors aren't looked at."""
    return (
        [hashlib.sha256(picture.content).hexdigest() for picture in item.pictures]
        != [p.sha256 for p in stored.pictures]
        or (item.title, item.uri, item.own_category) != (stored.title, stored.uri, stored.own_category)
        or _typed(item) != _typed(stored)
    )


def _typed(item: Item) -> dict[str, tuple[type, object]]:
    # 1, 1.0 and True are equal in Python and differ as attributes.
    return {name: (type(value), value) for name, value in item.attributes.items()}
