"""`twinset recommend`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli import report
from twinset.cli.examples import Named, read_examples, read_picture
from twinset.cli.problem import Problem, picture_fault
from twinset.cli.progress import counting
from twinset.cli.session import Server, session
from twinset.cli.sheet import SheetItem, SheetRow, render
from twinset.client import Client
from twinset.errors import TwinsetError
from twinset.recommendations import Example, Query, Recommendations

_HOW = "An item, or @FILE for a picture; ID^2 counts twice. May be repeated."


def recommend(
    context: typer.Context,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="What looks like this picture?")] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="What looks like this item?")] = None,
    like: Annotated[list[str] | None, typer.Option(metavar="ID", help=f"Looks like it. {_HOW}")] = None,
    away: Annotated[list[str] | None, typer.Option(metavar="ID", help="Looks unlike it.")] = None,
    complete: Annotated[list[str] | None, typer.Option(metavar="ID", help="Goes with it, as its target.")] = None,
    completed_by: Annotated[list[str] | None, typer.Option(metavar="ID", help="Goes with it, as its source.")] = None,
    user: Annotated[list[str] | None, typer.Option("--for", metavar="USER", help="To this user's liking.")] = None,
    every: Annotated[bool, typer.Option("--all", help="What looks like each item? Needs --output.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    exclude: Annotated[list[str] | None, typer.Option(metavar="ID", help="Never this item. May be repeated.")] = None,
    target: Annotated[list[str] | None, typer.Option(metavar="CATEGORY", help="Only of these categories.")] = None,
    filter: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(metavar="FILTER", help="Only items like 'category = shoes AND attributes.price < 50'.")
    ] = "",
    facet: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Count the field's values. May be repeated.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(metavar="SCORE", help="Only with this score or more.")] = None,
    mmr: Annotated[
        float | None, typer.Option("--mmr-lambda", metavar="0..1", help="Below 1: unlike each other, too.")
    ] = None,
    group_by: Annotated[str, typer.Option(metavar="FIELD", help="At most --group-size items of a value.")] = "",
    group_size: Annotated[int, typer.Option(metavar="N", min=1, help="How many.")] = 1,
    max_similarity: Annotated[
        float | None, typer.Option(metavar="S", help="None as similar as this to one before it.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell what each example brought.")] = False,
    page_size: Annotated[int, typer.Option(metavar="N", min=0, help="Only so many of the k; see --json.")] = 0,
    page_token: Annotated[str, typer.Option(metavar="TOKEN", help="The next page's; all else as it was.")] = "",
    exact: Annotated[bool, typer.Option("--exact", help="Compare every vector.")] = False,
    recall: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of the true nearest that is enough. [default: .98]")
    ] = None,
    space: Annotated[str, typer.Option(metavar="NAME", help="The space to search.")] = "visual",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.parquet", help="Where --all writes.")
    ] = None,
    server: Server = None,
) -> None:
    """Show the items that look like pictures or items, go with them, and are to a user's liking.

    Any number of `--like`, `--away`, `--complete`, `--completed-by` and `--for` come together, up to 16. The score of
    an item is the mean of its similarities to them, by their weights; `--away` counts against it. `--html` then shows
    which of them brought each item how much.

    With `--all`, write the neighbours of every item to a Parquet file with the columns item_id, rank, neighbour_id and
    score.

    A filter is one of AIP-160 over `category` and `attributes.NAME`: AND, OR, NOT, parentheses, = != < <= > >=, `:` for
    one of several texts, `:*` for what has the attribute at all. Facets count values over the items that match it.

    Examples: `twinset recommend --image photo.jpg -k 5`, `twinset recommend --item shoes/1 --html found.html`,
    `twinset recommend --like shoes/1 --away shoes/7^0.5 --for ann --group-by attributes.family`,
    `twinset recommend --complete sofa/3 --target lamp`, `twinset recommend --all -k 10 -o neighbours.parquet`
    """
    named = read_examples([one or () for one in (like, away, complete, completed_by, user)])
    if (image is not None) + (item is not None) + every + bool(named) != 1:
        raise Problem(
            "recommend takes exactly one of --image FILE, --item ID, --all, and examples: any of --like, --away, "
            "--complete, --completed-by and --for"
        )
    if json and html:
        raise Problem("recommend takes --json or --html, not both")
    if exact and recall is not None:
        raise Problem("recommend takes --exact or --recall, not both")
    if every != (output is not None) or (every and (json or html or exclude or filter or facet)):
        raise Problem(
            "--all goes with --output FILE.parquet, and with none of --json, --html, --exclude, --filter and --facet"
        )
    if image is not None:
        named = [Named(Example(picture=read_picture(image)), image.name, "image")]
    elif item is not None:
        named = [Named(Example(item=item), item, "item")]
    query = Query(
        examples=[one.example for one in named],
        k=k,
        exclude=exclude or (),
        space=space,
        view="basic",
        filter=filter,
        facets=facet or (),
        exact=exact,
        target_recall=recall,
        target_categories=target or (),
        min_score=min_score,
        mmr_lambda=mmr,
        group_by=group_by,
        group_size=group_size,
        max_similarity=max_similarity,
        explain=explain or (html is not None and len(named) > 1),
        page_size=page_size,
        page_token=page_token,
    )
    with session(context).connect(server) as client:
        if output is not None:
            _recommend_all(client, output, Query(k=k, space=space, exact=exact, target_recall=recall))
            return
        try:
            answer = client.recommend_query(query)
        except TwinsetError as error:
            pictures = [one.name for one in named if one.example.picture is not None]
            if (fault := picture_fault(error)) is None or not pictures:
                raise
            raise Problem(f"{image or ', '.join(pictures)}: {fault}") from error
        if html:
            _write_page(client, html, named, answer, k, filter)
    if json:
        asked = {"item": item} if item else {"image": str(image)} if image else None
        report.print_json(report.recommendations_json(asked or _asked(named), answer))
    else:
        if html is None:
            report.console().print(report.recommendations_table(answer))
        if facet:
            report.console().print(report.facets_table(answer))


def _asked(named: list[Named]) -> dict[str, object]:
    """Return the examples as JSON values."""
    return {"examples": [{one.option: one.name, "weight": one.example.weight} for one in named]}


def _write_page(
    client: Client, path: Path, named: list[Named], answer: Recommendations, k: int, filtered: str | None
) -> None:
    alone = len(named) == 1 and named[0].option in ("item", "image")
    page = render(
        [SheetRow.from_answer(client, [_shown(one, alone=alone) for one in named], answer)],
        title="Look-alikes" if alone else "Recommendations",
        subtitle=f"what looks most like {named[0].name}" if alone else _subtitle(named),
        facts={
            "server": client.server,
            "space": ", ".join(one.space for one in answer.searches) or answer.space,
            "k": str(k),
            **({"filter": filtered} if filtered else {}),
            "search": f"{'exact' if answer.exact else 'approximate'}, {answer.candidates_examined:,} vectors compared",
        },
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path} can't be written: {error.strerror}") from error
    typer.echo(f"{path}: open it in a browser")


def _shown(one: Named, *, alone: bool) -> SheetItem:
    weight = "" if abs(one.example.weight) == 1 else f", weight {abs(one.example.weight):g}"
    label = "" if alone else f"{one.option.replace('-', ' ')}{weight}"
    return SheetItem(one.name, one.example.picture, label=label, is_stored=one.example.item is not None)


def _subtitle(named: list[Named]) -> str:
    return ", ".join(f"{one.option.replace('-', ' ')} {one.name}" for one in named)


def _recommend_all(client: Client, path: Path, query: Query) -> None:
    # Here, so that the other commands don't wait for pyarrow.
    from twinset.cli.neighbours import check_target, write_neighbours

    check_target(path)
    start = time.monotonic()
    with counting("asking", client.catalog().item_count) as show:
        written = write_neighbours(client, path, query, progress=lambda so_far: show(so_far.items))
    seconds = time.monotonic() - start
    typer.echo(
        f"{path}: {report.counted(written.rows, 'neighbour')} of {report.counted(written.items, 'item')}, "
        f"in {seconds:.1f} s, {report.counted(round(written.items / seconds), 'item')} a second"
    )
    if written.without_vector:
        typer.echo(
            f"{report.counted(written.without_vector, 'item')} without a vector in {query.space!r}, "
            "and so without neighbours"
        )
