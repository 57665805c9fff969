"""What a command line says of the sides of pairs, and how they look on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from twinset.cli.delivery import UnreadablePicture, read_picture
from twinset.cli.problem import Problem
from twinset.cli.sheet import SheetItem, SheetRow, render, stored_item
from twinset.client import Client
from twinset.items import Item
from twinset.pairs import PairScoring, Side


def side_of(item: str | None, image: Path | None, category: str, called: str) -> Side:
    """Return the side that is said by an item's id or by a picture's file.

    Raises:
        Problem: neither or both are said, an item has a category, or the file can't be read.
    """
    if (item is None) == (image is None):
        raise Problem(f"{called} is either an item's id or --{called}-image FILE")
    if image is None:
        if category:
            raise Problem(f"--{called}-category is for a picture: an item has its own category")
        return Side(item=item)
    return picture_side(image, category)


def picture_side(image: Path, category: str = "") -> Side:
    """Return the side of a picture in a file.

    Raises:
        Problem: it can't be read.
    """
    try:
        return Side(picture=read_picture(image), category=category)
    except UnreadablePicture as error:
        raise Problem(f"{image}: {error}") from error


def shown(client: Client, side: Side, image: Path | None, score: float | None = None) -> SheetItem:
    """Return how a side looks on a page: a stored item as it is on the server, a picture by its file's name."""
    if side.item is None:
        return SheetItem("" if image is None else image.name, side.picture, category=side.category, score=score)
    return stored_item(client, client.get_items([side.item]).get(side.item, Item(side.item)), score)


def scoring_json(scoring: PairScoring) -> dict[str, Any]:
    """Return what made probabilities, for programs."""
    pair = scoring.pair
    return {
        "model": scoring.model,
        "metric": scoring.metric.value,
        "offset": pair.offset,
        "scale": pair.scale,
        "shift": pair.shift,
        "prior": scoring.prior,
        "source_fingerprint": scoring.source_fingerprint,
        "target_fingerprint": scoring.target_fingerprint,
    }


def write_page(path: Path, rows: Sequence[SheetRow], title: str, subtitle: str, facts: Mapping[str, str]) -> None:
    """Write a contact sheet, and say where it is.

    Raises:
        Problem: it can't be written.
    """
    try:
        path.write_text(render(rows, title=title, subtitle=subtitle, facts=facts), encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path} can't be written: {error.strerror}") from error
    typer.echo(f"{path}: open it in a browser")
