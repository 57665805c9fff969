"""`twinset replace`: the catalogue becomes what a folder or a table says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli.account import print_failed
from twinset.cli.attributes import Facts, read_attributes
from twinset.cli.delivery import item_of
from twinset.cli.problem import Problem, SomeFailed, picture_fault
from twinset.cli.progress import counting
from twinset.cli.put_command import Table
from twinset.cli.report import counted
from twinset.cli.session import Server, session
from twinset.client import Client
from twinset.errors import FailedPrecondition
from twinset.folder import IdRule, is_text, read_folder
from twinset.images import PictureError, read_header
from twinset.items import FeedResult, FeedSummary, Item

_PICTURE_COLUMN = "picture"


def replace(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER|FILE", help="A folder of pictures, or a table with a column `picture`.")
    ],
    attributes: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Facts by id, for a folder: title, uri, category, others.")
    ] = None,
    id_rule: Annotated[
        IdRule,
        typer.Option("--id", help="An item's id: its path below FOLDER without extension, its name, or its stem."),
    ] = "path",
    allow_failed: Annotated[
        bool, typer.Option("--allow-failed", help="Go through with it although items fail; those stay as they were.")
    ] = False,
    server: Server = None,
) -> None:
    """Make the catalogue what a feed says: put what is new or changed, and DELETE WHAT THE FEED LACKS.

    All of it becomes visible at once, at the end. If it is stopped, or an item fails, nothing has changed: mend the
    item and run it again, or allow failures, which leaves such items as they were. What is stored just so already is
    not embedded again.

    A FOLDER gives one item for each picture below it. A FILE (.csv or .parquet) gives one for each row, with the
    columns of `put --attributes`, and the path of the picture, from the file's own folder, in the column `picture`.

    Examples: `twinset replace photos --attributes photos.csv`, `twinset replace feed.csv`
    """
    pictures, facts = _read(source, attributes, id_rule)
    feed = _Feed(pictures, facts)
    start = time.monotonic()
    with session(context).connect(server) as client, counting("sending", len(pictures)) as show:
        summary = feed.run(client, allow_failed, show)
    print_failed(feed.failed)
    if summary is None:
        raise Problem(
            f"{counted(len(feed.failed), 'item')} failed, and nothing was changed: mend them and run it again, or "
            "leave them as they were with --allow-failed"
        )
    typer.echo(
        f"{counted(len(pictures), 'item')}: {summary.created:,} created, {summary.replaced:,} replaced, "
        f"{summary.unchanged:,} unchanged, {summary.deleted:,} deleted, {summary.failed:,} failed, "
        f"in {time.monotonic() - start:.1f} s"
    )
    if feed.failed:
        raise SomeFailed


def _read(source: Path, attributes: Path | None, id_rule: IdRule) -> tuple[Mapping[str, Path], Mapping[str, Facts]]:
    """Return the picture files and the facts by id."""
    if source.is_file():
        if attributes is not None:
            raise Problem(f"{source} is a table with its own facts: leave --attributes away, or name a folder")
        return _read_table(source)
    found = read_folder(source, id_rule)
    for item_id, path in found.pictures.items():
        if not is_text(item_id):
            raise Problem(f"{str(path)!r}: the file's name is not UTF-8: rename it")
    table = Table(attributes, {} if attributes is None else read_attributes(attributes))
    table.check(source, found.pictures)
    return found.pictures, table.facts


def _read_table(path: Path) -> tuple[Mapping[str, Path], Mapping[str, Facts]]:
    pictures: dict[str, Path] = {}
    facts: dict[str, Facts] = {}
    for item_id, row in read_attributes(path).items():
        named = row.attributes.get(_PICTURE_COLUMN)
        if named is None:
            raise Problem(
                f"{path}, column {_PICTURE_COLUMN!r}: the item {item_id!r} has no picture: name its file there, from "
                f"the folder {path.parent}"
            )
        pictures[item_id] = path.parent / str(named)
        others = {name: value for name, value in row.attributes.items() if name != _PICTURE_COLUMN}
        facts[item_id] = Facts(row.title, row.uri, row.category, others)
    return pictures, facts


class _Feed:
    """One run: reads pictures as the server takes them, and keeps the reasons of what failed."""

    def __init__(self, pictures: Mapping[str, Path], facts: Mapping[str, Facts]) -> None:
        self.failed: dict[str, str] = {}
        self._pictures = pictures
        self._facts = facts
        self._faults: dict[str, str] = {}
        self._done = 0

    def run(self, client: Client, allow_failed: bool, show: Callable[[int], None]) -> FeedSummary | None:
        """Send the feed and return what it did, or None where it was refused because items failed."""

        def report(result: FeedResult) -> None:
            self._done += 1
            if result.error is not None:
                fault = self._faults.get(result.id) or picture_fault(result.error) or result.error.message
                self.failed[str(self._pictures[result.id])] = fault
            show(self._done)

        try:
            return client.replace_catalog(self._items(), allow_failed=allow_failed, report=report)
        except FailedPrecondition as error:
            if error.reason == "FEED_HAS_FAILURES":
                return None
            raise

    def _items(self) -> Iterator[Item]:
        for item_id, path in self._pictures.items():
            content = b""
            try:
                content = path.read_bytes()
                read_header(content)
            except OSError as error:
                self._faults[item_id] = f"can't be read: {error.strerror}"
            except PictureError as error:
                self._faults[item_id] = str(error)
            if item_id in self._faults:
                # Sent all the same, without its content: the server is to know that the item failed, and not miss it.
                content = b""
            yield item_of(item_id, content, self._facts.get(item_id, Facts()))
