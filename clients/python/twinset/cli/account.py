"""What became of a folder's pictures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import typer

from twinset.cli.attributes import Facts
from twinset.cli.report import counted, legible
from twinset.folder import Folder

_FAILURES_SHOWN = 50


@dataclass(slots=True)
class Account:
    """What became of the pictures, or of the vectors, so far. `failed` holds the reason by path, or by row.

    `stripped` counts the items put that had facts in the catalogue before, and have none now. `slowed_s` is the longest
    time for which the server held an answer back.
    """

    total: int
    put: int = 0
    unchanged: int = 0
    stripped: int = 0
    slowed_s: float = 0.0
    failed: dict[Path | str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Those of which it is known what became of them."""
        return self.put + self.unchanged + len(self.failed)


def print_account(account: Account, found: Folder, facts: Mapping[str, Facts], seconds: float) -> None:
    """Print what became of a folder's pictures: the sums on stdout and the failures on stderr."""
    print_sums(account, "picture", seconds)
    if found.others:
        typer.echo(f"{counted(found.others, 'other file')} ignored")
    if facts:
        pictures = found.pictures.keys()
        rows_alone, pictures_alone = facts.keys() - pictures, pictures - facts.keys()
        if rows_alone:
            typer.echo(f"{counted(len(rows_alone), 'row')} without a picture, such as {legible(min(rows_alone))}")
        if pictures_alone:
            typer.echo(
                f"{counted(len(pictures_alone), 'picture')} without a row, such as {legible(min(pictures_alone))}"
            )
        if not any(row.title or row.uri or row.category for row in facts.values()):
            typer.echo(
                "no row gives a title, uri or category: "
                "columns of these names become the item's title, link and category"
            )
    print_stripped(account)
    print_failures(account)


def print_sums(account: Account, thing: str, seconds: float) -> None:
    """Print on stdout how many were put, unchanged and failed; `thing` is the noun for one of them."""
    rate = f", {account.put / seconds:,.0f} a second" if account.put else ""
    typer.echo(
        f"{counted(account.total, thing)}: {account.put:,} put, {account.unchanged:,} unchanged, "
        f"{len(account.failed):,} failed, in {seconds:.1f} s{rate}"
    )
    if account.slowed_s:
        typer.echo(
            f"the server held answers back for up to {account.slowed_s:.1f} s, since vectors came faster than it "
            "indexes them: all are stored, and more clients at a time would not be faster"
        )


def print_stripped(account: Account) -> None:
    """Print on stdout how many items lost their facts, if any did."""
    if account.stripped:
        typer.echo(
            f"{counted(account.stripped, 'item')} lost all facts (title, uri, category, attributes): "
            "give them with --attributes FILE.csv"
        )


def print_failures(account: Account) -> None:
    """Print the failures with their reasons on stderr."""
    print_failed(account.failed)


def print_failed(failed: Mapping[Path | str, str] | Mapping[str, str]) -> None:
    """Print on stderr what failed, each with its reason."""
    for place, reason in itertools.islice(sorted(failed.items(), key=_by_place), _FAILURES_SHOWN):
        typer.echo(f"failed: {legible(place)}: {legible(reason)}", err=True)
    if len(failed) > _FAILURES_SHOWN:
        typer.echo(f"and {len(failed) - _FAILURES_SHOWN:,} more", err=True)


def _by_place(failure: tuple[Path | str, str]) -> list[str | int]:
    # Row 9 before row 10.
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", str(failure[0]))]
