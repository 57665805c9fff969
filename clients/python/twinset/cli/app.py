"""The commands of `twinset`."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

import twinset
from twinset.channel import DEFAULT_SERVER
from twinset.cli import acts, changes, exports, factors, feed, report
from twinset.cli.attributes import read_attributes
from twinset.cli.classify import classify
from twinset.cli.complete import complete
from twinset.cli.problem import Problem, SomeFailed, explain, picture_fault
from twinset.cli.progress import counting
from twinset.cli.put_command import INTERRUPTED, Table, put_pictures, put_vectors
from twinset.cli.score import score
from twinset.cli.session import Server, Session, session
from twinset.cli.sheet import SheetItem, SheetRow, render
from twinset.client import Client
from twinset.errors import TwinsetError
from twinset.folder import FolderError, IdRule
from twinset.images import PictureError, read_header
from twinset.recommendations import Query, Recommendations
from twinset.tls import Tls
from twinset.vectors import VectorsError

# The common ancestor of whatever is wrong with a command line; typer names its children only.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)

app = typer.Typer(
    help="Put pictures into a twinset server, and ask it what looks alike.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinset {twinset.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    server: Annotated[
        str, typer.Option("--server", metavar="HOST:PORT", envvar="TWINSET_SERVER_ADDRESS", help="The server.")
    ] = DEFAULT_SERVER,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Longest wait for one answer of the server.")
    ] = 60.0,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt; the authorities that gRPC brings are trusted.")] = False,
    tls_authority: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Encrypt; trust what these authorities signed. PEM.")
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Show this certificate, where the server asks for one. PEM."),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The private key of that. PEM.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="TWINSET_TOKEN",
            help="For a server that asks for one. Others may see your arguments: set the variable.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Put pictures into a twinset server, and ask it what looks alike."""
    encrypts = tls or any((tls_authority, tls_certificate, tls_key))
    try:
        way = Tls(tls_authority, tls_certificate, tls_key) if encrypts else None
    except ValueError as error:
        raise Problem(str(error)) from error
    context.obj = Session(server, timeout, way, token)


@app.command()
def put(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Pictures, in subfolders too. Not needed with --vectors.")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Facts by id: title, uri, category and any others.")
    ] = None,
    id_rule: Annotated[
        IdRule | None,
        typer.Option(
            "--id",
            help="An item's id: its path below FOLDER without extension, its name, or its stem. "
            "[default: path, or what the vectors were made with]",
        ),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Vectors that exist: what twinset-exporter embed wrote, or the like."),
    ] = None,
    space: Annotated[str, typer.Option(metavar="NAME", help="The space of the vectors.")] = "visual",
    fingerprint: Annotated[
        str | None, typer.Option(metavar="HEX", help="Of the model that made the vectors, where DIR doesn't tell.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Put unchanged pictures too: for vectors in a space that is new.")
    ] = False,
    server: Server = None,
) -> None:
    """Put the pictures of a folder, one item each; what is in the catalogue already is left alone.

    JPEG, PNG and WebP are taken. Bad files are listed at the end, and the rest are stored. Run it again after a change
    or a failure: it puts only what differs in picture or facts.

    The CSV names items in its column `id`, or else in the first. `title`, `uri` and `category` are those fields, every
    other column is an attribute. An item is replaced as a whole: facts that this run doesn't give are dropped.

    With `--vectors`, items get the vectors in DIR instead of being embedded: with FOLDER together with its pictures,
    else alone.

    Examples: `twinset put photos --attributes photos.csv`, `twinset put --vectors vectors`
    """
    if folder is None and vectors is None:
        raise Problem("put takes a FOLDER of pictures, or --vectors DIR, or both")
    table = Table(attributes, {} if attributes is None else read_attributes(attributes))
    with session(context).connect(server) as client:
        if vectors is not None:
            if again:
                raise Problem("--again is for pictures: with --vectors nothing is embedded")
            failed = put_vectors(client, vectors, space, fingerprint, folder, id_rule, table)
        else:
            assert folder is not None  # noqa: S101 - seen above
            failed = put_pictures(client, folder, id_rule or "path", table, again=again)
    if failed:
        raise SomeFailed


@app.command()
def recommend(
    context: typer.Context,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="What looks like this picture?")] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="What looks like this item?")] = None,
    every: Annotated[bool, typer.Option("--all", help="What looks like each item? Needs --output.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    exclude: Annotated[list[str] | None, typer.Option(metavar="ID", help="Never this item. May be repeated.")] = None,
    filter: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(metavar="FILTER", help="Only items like 'category = shoes AND attributes.price < 50'.")
    ] = "",
    facet: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Count the field's values. May be repeated.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every vector.")] = False,
    recall: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of the true nearest that is enough. [default: .98]")
    ] = None,
    space: Annotated[str, typer.Option(metavar="NAME", help="The space to search.")] = "visual",
    json: _Json = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.parquet", help="Where --all writes.")
    ] = None,
    server: Server = None,
) -> None:
    """Show the items that look most like a picture or an item.

    With `--all`, write the neighbours of every item to a Parquet file with the columns item_id, rank, neighbour_id and
    score.

    A filter is one of AIP-160 over `category` and `attributes.NAME`: AND, OR, NOT, parentheses, = != < <= > >=, `:` for
    one of several texts, `:*` for what has the attribute at all. Facets count values over the items that match it.

    Examples: `twinset recommend --image photo.jpg -k 5`, `twinset recommend --item shoes/1 --html found.html`,
    `twinset recommend --item shoes/1 --filter 'attributes.price < 50' --facet attributes.brand`,
    `twinset recommend --all -k 10 -o neighbours.parquet`
    """
    if (image is not None) + (item is not None) + every != 1:
        raise Problem("recommend takes exactly one of --image FILE, --item ID and --all")
    if json and html:
        raise Problem("recommend takes --json or --html, not both")
    if exact and recall is not None:
        raise Problem("recommend takes --exact or --recall, not both")
    if every != (output is not None) or (every and (json or html or exclude or filter or facet)):
        raise Problem(
            "--all goes with --output FILE.parquet, and with none of --json, --html, --exclude, --filter and --facet"
        )
    picture = None if image is None else _read_picture(image)
    with session(context).connect(server) as client:
        if output is not None:
            _recommend_all(client, output, Query(k=k, space=space, exact=exact, target_recall=recall))
            return
        try:
            answer = client.recommend(
                item=item,
                picture=picture,
                k=k,
                exclude=exclude or (),
                space=space,
                view="basic",
                filter=filter,
                facets=facet or (),
                exact=exact,
                target_recall=recall,
            )
        except TwinsetError as error:
            if (fault := picture_fault(error)) is None:
                raise
            raise Problem(f"{image}: {fault}") from error
        if html:
            query = item if item is not None else SheetItem(image.name if image else "", picture)
            _write_page(client, html, query, answer, k, filter)
    if json:
        report.print_json(report.recommendations_json({"item": item} if item else {"image": str(image)}, answer))
    else:
        if html is None:
            report.console().print(report.recommendations_table(answer))
        if facet:
            report.console().print(report.facets_table(answer))


def _read_picture(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror}") from error
    try:
        read_header(content)
    except PictureError as error:
        raise Problem(f"{path}: {error}") from error
    return content


def _write_page(
    client: Client, path: Path, query: str | SheetItem, answer: Recommendations, k: int, filtered: str | None
) -> None:
    name = query if isinstance(query, str) else query.id
    page = render(
        [SheetRow.from_answer(client, query, answer)],
        title="Look-alikes",
        subtitle=f"what looks most like {name}",
        facts={
            "server": client.server,
            "space": answer.space,
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


@app.command()
def items(
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many. [default: all]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one item a line.")] = False,
    server: Server = None,
) -> None:
    """List the items of the catalogue by id.

    Example: `twinset items --limit 20`
    """
    with session(context).connect(server) as client:
        listed = itertools.islice(client.list_items(page_size=min(limit or 1000, 1000)), limit)
        if json:
            for item in listed:
                report.print_json(report.item_json(item))
        else:
            report.console().print(report.items_table(listed))


@app.command()
def status(context: typer.Context, json: _Json = False, server: Server = None) -> None:
    """Show how many items and vectors the server holds, and what made them.

    Example: `twinset status`
    """
    with session(context).connect(server) as client:
        catalog = client.catalog()
    if json:
        report.print_json(report.status_json(client.server, catalog))
    else:
        report.console().print(*report.status_tables(client.server, catalog), sep="\n\n")


# Behind those above, as the help lists them.
app.command()(classify)
app.command()(score)
app.command()(complete)
app.command()(changes.update)
app.command()(changes.delete)
app.command()(feed.replace)
app.command("put-users")(acts.put_users)
app.command("put-interactions")(acts.put_interactions)
app.command("import-factors")(factors.import_factors)
app.command("factors")(factors.factors)
app.command("activate-factors")(factors.activate_factors)
app.add_typer(exports.app, name="export")


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; whatever goes wrong is one line on stderr."""
    try:
        code = typer.main.get_command(app).main(
            list(arguments) or ["--help"], prog_name="twinset", standalone_mode=False
        )
    except SomeFailed:
        return 1
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "twinset"
        return _fail(f"{error.format_message().rstrip('.')}: see {command} --help")
    except TwinsetError as error:
        return _fail(explain(error))
    except (FolderError, Problem, VectorsError) as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("twinset: stopped", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("TWINSET_TRACEBACK"):
            raise
        return _fail(f"a defect of twinset: {error!r}; set TWINSET_TRACEBACK=1 to see where, and report it")
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    typer.echo(f"twinset: {report.legible(message)}", err=True)
    return 2
