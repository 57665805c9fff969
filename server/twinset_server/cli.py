"""`twinset-server`."""

from __future__ import annotations

import os

# Read by OpenBLAS when numpy is imported. Searches are many and small: threads of its own inside each of them only
# fight over the cores (on two busy ones the 99th percentile of a search doubled).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Huge pages are cleared, and looked for, 2 MB at a time: 6 ms each, in which a search waits for the rows behind it.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
# Children are started by exec, for which gRPC need prepare nothing: it would write a line about each to the log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import difflib
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError

import twinset
from twinset_server import logs
from twinset_server.commands.activate import activate
from twinset_server.commands.backup import backup
from twinset_server.commands.check import check
from twinset_server.commands.compact import compact
from twinset_server.commands.health import health
from twinset_server.commands.models import models
from twinset_server.commands.rebuild import rebuild
from twinset_server.commands.reembed import reembed
from twinset_server.commands.restore import restore
from twinset_server.commands.rollback import rollback
from twinset_server.commands.token import token
from twinset_server.config import Settings, load, setting_names
from twinset_server.errors import StartupError
from twinset_server.processes.builder import build
from twinset_server.processes.indexing import indexing
from twinset_server.processes.serving import serving
from twinset_server.processes.signals import until_stopped
from twinset_server.processes.supervisor import Supervisor
from twinset_server.processes.worker import work
from twinset_server.triton import stand_alone

app = typer.Typer(
    help="Serve visual recommendations over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinset-server {twinset.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Serve visual recommendations over gRPC."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. [default: 50051]")] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Port for operators; 0 takes a free one. [default: 50052]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that answer; 0 takes one a core. [default: 0]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the catalogue, made if need be. [default: twinset-data]")
    ] = None,
    model_repository: Annotated[
        Path | None, typer.Option(help="Folder of exported models. [default: model_repository]")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model that fills `visual`, where the folder holds several.")
    ] = None,
    triton_url: Annotated[
        str | None, typer.Option(help="host:port of a running Triton; without it an embedded one is started.")
    ] = None,
    fill_category: Annotated[
        str | None,
        typer.Option(metavar="OUTPUT", help="Output of the model whose likeliest class fills a missing category."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate in PEM; needs --tls-key. Without it: no TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's private key.")] = None,
    tokens: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tokens of those who may call; see `twinset-server token`.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file. [default: twinset.toml, if it is there]")] = None,
) -> None:
    """Start the server, and with it Triton, until SIGTERM or Ctrl-C. A second signal hurries the end.

    Every setting can also come from twinset.toml or from a variable such as TWINSET_STORE__PATH; what is given here
    wins.

    Example: twinset-server serve --model-repository model_repository --data twinset-data
    """
    given: dict[str, dict[str, Any]] = {
        "server": {"host": host, "port": port, "workers": workers},
        "admin": {"port": admin_port},
        "store": {"path": data},
        "catalog": {"fill_category": fill_category},
        "triton": {"model_repository": model_repository, "model": model, "url": triton_url},
        "tls": {"certificate": tls_certificate, "key": tls_key},
        "access": {"tokens": tokens},
    }
    try:
        settings = load(given, config)
        logs.set_up("twinset", settings.logs.format)
        uvloop.run(_serve(settings))
    except ValidationError as error:
        _fail("\n".join(_describe(problem) for problem in error.errors()))
    except StartupError as error:
        _fail(str(error))


async def _serve(settings: Settings) -> None:
    def ready(supervisor: Supervisor) -> None:
        address = f"{settings.server.host}:{supervisor.port}"
        typer.echo(f"twinset serves on {address} (process {os.getpid()}); stop it with Ctrl-C")

    await until_stopped(serving(settings), ready, drain_s=settings.server.drain_s)


@app.command(hidden=True)
def worker() -> None:
    """Answer calls for the server that started this process; its orders come over standard input."""
    logs.set_up(f"worker {os.getpid()}")
    work()


@app.command(hidden=True)
def builder() -> None:
    """Keep the index for the server that started this process; its orders come over standard input."""
    logs.set_up(f"builder {os.getpid()}")
    build(indexing)


@app.command()
def triton(
    model_repository: Annotated[
        Path | None, typer.Option(help="Folder of exported models. [default: model_repository]")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model, where the folder holds several.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file. [default: twinset.toml, if it is there]")] = None,
) -> None:
    """Run one model on an embedded Triton and nothing else, until SIGTERM or Ctrl-C.

    It listens on a free port of loopback, and says which. Where its standard input is a pipe it ends with that pipe,
    and so with the program that started it.

    Example: twinset-server triton --model-repository model_repository
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    given: dict[str, dict[str, Any]] = {"triton": {"model_repository": model_repository, "model": model}}
    try:
        settings = load(given, config)
        uvloop.run(stand_alone(settings.triton, _say_ready))
    except ValidationError as error:
        _fail("\n".join(_describe(problem) for problem in error.errors()))
    except StartupError as error:
        _fail(str(error))


def _say_ready(model: str, address: str) -> None:
    typer.echo(f"Triton serves {model} on {address}")
    # Whoever started this waits for the line, and a pipe would keep it.
    sys.stdout.flush()


app.command()(backup)
app.command()(restore)
app.command()(check)
app.command()(compact)
app.command()(rebuild)
app.command()(models)
app.command()(activate)
app.command()(rollback)
app.command()(reembed)
app.command()(health)
app.command()(token)


def _describe(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"setting {name}: {problem['msg']} (got {problem['input']!r})"
    near = difflib.get_close_matches(name, setting_names(), n=1)
    hint = f": did you mean {near[0]}?" if near else f": the settings are {', '.join(setting_names())}"
    return f"there is no setting {name} (in the settings file or a variable TWINSET_...){hint}"


def _fail(message: str) -> None:
    typer.echo(f"twinset-server: {message}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command line."""
    app()
