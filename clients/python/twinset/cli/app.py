"""The commands of `twinset`."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

import twinset
from twinset.channel import DEFAULT_SERVER
from twinset.cli import acts, changes, exports, factors, feed, rank, report
from twinset.cli.attributes import read_attributes
from twinset.cli.classify import classify
from twinset.cli.complete import complete
from twinset.cli.problem import Problem, SomeFailed, explain
from twinset.cli.put_command import INTERRUPTED, Table, put_pictures, put_vectors
from twinset.cli.recommend import recommend
from twinset.cli.score import score
from twinset.cli.session import Server, Session, session
from twinset.errors import TwinsetError
from twinset.folder import FolderError, IdRule
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
app.command()(recommend)
app.command()(classify)
app.command()(score)
app.command()(complete)
app.command()(changes.update)
app.command()(changes.delete)
app.command()(feed.replace)
app.command("put-users")(acts.put_users)
app.command("put-interactions")(acts.put_interactions)
app.command("import-factors")(factors.import_factors)
app.command()(rank.rank)
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
