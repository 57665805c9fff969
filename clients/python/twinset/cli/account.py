"""What became of a folder's pictures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import typer

from twinset.cli.attributes import Facts
from twinset.cli.report import legible
from twinset.folder import Folder

_FAILURES_SHOWN = 50


@dataclass(slots=True)
class Account:
    """What became of the pictures, or of the vectors, so far. `failed` holds the reason by path, or by row."""

    total: int
    put: int = 0
    unchanged: int = 0
    failed: dict[Path | str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Those of which it is known what became of them."""
        return self.put + self.unchanged + len(self.failed)


def print_account(account: Account, found: Folder, facts: Mapping[str, Facts], seconds: float) -> None:
    """Print what became of a folder's pictures: the sums on stdout and the failures on stderr."""
    print_sums(account, "pictures", seconds)
    if found.others:
        typer.echo(f"{found.others:,} other files ignored")
    if facts:
        pictures = found.pictures.keys()
        rows_alone, pictures_alone = facts.keys() - pictures, pictures - facts.keys()
        if rows_alone:
            typer.echo(f"{len(rows_alone):,} rows without a picture, such as {legible(min(rows_alone))}")
        if pictures_alone:
            typer.echo(f"{len(pictures_alone):,} pictures without a row, such as {legible(min(pictures_alone))}")
    print_failures(account)


def print_sums(account: Account, things: str, seconds: float) -> None:
    """Print on stdout how many of the `things` were put, unchanged and failed."""
    rate = f", {account.put / seconds:,.0f} a second" if account.put else ""
    typer.echo(
        f"{account.total:,} {things}: {account.put:,} put, {account.unchanged:,} unchanged, "
        f"{len(account.failed):,} failed, in {seconds:.1f} s{rate}"
    )


def print_failures(account: Account) -> None:
    """Print the failures with their reasons on stderr."""
    for place, reason in itertools.islice(sorted(account.failed.items(), key=_by_place), _FAILURES_SHOWN):
        typer.echo(f"failed: {legible(place)}: {legible(reason)}", err=True)
    if len(account.failed) > _FAILURES_SHOWN:
        typer.echo(f"and {len(account.failed) - _FAILURES_SHOWN:,} more", err=True)


def _by_place(failure: tuple[Path | str, str]) -> list[str | int]:
    # Row 9 before row 10.
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", str(failure[0]))]
