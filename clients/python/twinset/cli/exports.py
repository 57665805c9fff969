"""`twinset export`: items and interactions into files that training reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from twinset.cli.progress import counting
from twinset.cli.report import counted, item_json
from twinset.cli.row_files import check_target, written
from twinset.cli.session import Server, session
from twinset.items import Interaction, Item

app = typer.Typer(help="Write items or interactions to a file, .csv, .parquet or .jsonl.", rich_markup_mode="markdown")

_Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: a name that ends in .csv, .parquet or .jsonl.")
]


@app.command()
def interactions(
    context: typer.Context,
    output: _Output,
    after: Annotated[
        int, typer.Option(min=0, metavar="SEQUENCE", help="Only what was stored later; the last export told it.")
    ] = 0,
    server: Server = None,
) -> None:
    """Write what users did: user_id, item_id, kind, weight and time, in the order in which it was stored.

    The last line printed tells the sequence behind which the next export goes on.

    Examples: `twinset export interactions -o clicks.parquet`, `twinset export interactions -o new.csv --after 120345`
    """
    check_target(output)
    last = after

    def row(interaction: Interaction) -> tuple[Any, ...]:
        nonlocal last
        last = interaction.sequence
        return (interaction.user_id, interaction.item_id, interaction.kind, interaction.weight, interaction.time)

    columns = {"user_id": "string", "item_id": "string", "kind": "string", "weight": "double", "time": "time"}
    with session(context).connect(server) as client:
        total = client.catalog().interaction_count
        _write(output, columns, map(row, client.export_interactions(after=after)), total, "interaction")
    typer.echo(f"go on behind these with --after {last}")


@app.command()
def items(
    context: typer.Context,
    output: _Output,
    after: Annotated[str, typer.Option(metavar="ID", help="Only items behind this id, in byte order.")] = "",
    vectors: Annotated[
        str | None, typer.Option("--vectors", metavar="SPACE", help="Write the vectors in this space too.")
    ] = None,
    predicted: Annotated[
        bool, typer.Option("--predicted", help="Write predicted categories too, with their probabilities.")
    ] = False,
    server: Server = None,
) -> None:
    """Write the items by id: id, title, uri, category, and their attributes as JSON.

    A category that the server predicted is no fact, and left empty. With `--predicted` it is written, and a further
    column `category_probability` tells it from a fact.

    With `--vectors`, a further column `vectors` holds JSON too: a list of the item's vectors in that space, one for
    each picture in their order, or the one that was put without a picture.

    Examples: `twinset export items -o items.jsonl`, `twinset export items -o items.parquet --vectors visual`
    """
    check_target(output)
    columns = {"id": "string", "title": "string", "uri": "string", "category": "string", "attributes": "json"}
    if predicted:
        columns["category_probability"] = "double"
    if vectors is not None:
        columns["vectors"] = "json"

    def row(item: Item) -> tuple[Any, ...]:
        plain = item_json(item)
        found = [] if vectors is None else [[v.values.tolist() for v in item.vectors if v.space == vectors]]
        category = item.category if predicted else item.own_category
        guess = [item.category_probability] if predicted else []
        return (item.id, item.title, item.uri, category, plain["attributes"], *guess, *found)

    with session(context).connect(server) as client:
        total = client.catalog().item_count
        listed = client.export_items(view="basic" if vectors is None else "full", after=after)
        _write(output, columns, map(row, listed), total, "item")


def _write(path: Path, columns: dict[str, str], rows: Iterable[tuple[Any, ...]], total: int, noun: str) -> None:
    start, count = time.monotonic(), 0
    with counting("writing", total) as show:
        count = written(path, columns, _counted(rows, show))
    typer.echo(f"{path}: {counted(count, noun)}, in {time.monotonic() - start:.1f} s")


def _counted(rows: Iterable[tuple[Any, ...]], show: Callable[[int], None]) -> Iterable[tuple[Any, ...]]:
    for number, row in enumerate(rows, start=1):
        yield row
        if number % 1000 == 0:
            show(number)
