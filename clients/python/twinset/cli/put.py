"""Puts what changed in a folder, and keeps account of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from twinset.cli.account import Account
from twinset.cli.attributes import Facts
from twinset.cli.delivery import Delivery, UnreadablePicture, item_of, read_picture
from twinset.client import Client
from twinset.folder import is_text
from twinset.items import Item

# Enough for one BatchGetItems to cost little per item, few enough for the answer to stay small.
_COMPARED_AT_ONCE = 200


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
        again: bool = False,
    ) -> None:
        """Prepare to put.

        Args:
            client: where to.
            pictures: picture files by item id.
            facts: what is known of the items, by id.
            progress: called whenever `account` changes.
            sleep: waits some seconds.
            again: put what is unchanged too, so that it gets vectors in spaces that are new.
        """
        self.account = Account(len(pictures))
        self._client = client
        self._pictures = pictures
        self._facts = facts
        self._again = again
        self._delivery = Delivery(client, self.account, progress=progress, sleep=sleep)

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
        self._delivery.put(ids, self._changed, self._pictures.__getitem__)

    def _changed(self, ids: Sequence[str]) -> Iterator[Item]:
        for group in _groups(ids, _COMPARED_AT_ONCE):
            stored = self._client.get_items(group)
            for item_id in group:
                path = self._pictures[item_id]
                try:
                    content = read_picture(path)
                except UnreadablePicture as error:
                    self._delivery.fail(path, str(error))
                    continue
                item = item_of(item_id, content, self._facts.get(item_id, Facts()))
                if self._delivery.is_news(item, stored.get(item_id), same_vectors=not self._again):
                    yield item


def _groups(ids: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(ids)
    while group := tuple(itertools.islice(rest, size)):
        yield group
