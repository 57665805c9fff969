"""`twinset import-factors`, `factors` and `activate-factors`: what taste is served by."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli.problem import Problem
from twinset.cli.report import counted
from twinset.cli.session import Server, session
from twinset.factor_imports import FactorGeneration
from twinset.factors import FactorsError, open_factors


def import_factors(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder `factors` that twinset-exporter train taste wrote.")
    ],
    through: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="SEQUENCE",
            help="The last interaction trained on, as `twinset export interactions` told it: users who did something "
            "since are folded in. 0: all are, of whom interactions are stored.",
        ),
    ] = 0,
    server: Server = None,
) -> None:
    """Let new taste factors serve: users and items together, switched for all calls at once.

    What serves does so until all have come; the factors before are kept: `twinset activate-factors` goes back to them.

    Example: `twinset import-factors taste/factors --through 120345`
    """
    start = time.monotonic()
    try:
        found = open_factors(folder)
        found.check()
        with session(context).connect(server) as client:
            generation = client.import_factors(found, interactions_through=through)
    except FactorsError as error:
        raise Problem(str(error)) from error
    typer.echo(f"{_line(generation)}, imported in {time.monotonic() - start:.1f} s")


def factors(context: typer.Context, server: Server = None) -> None:
    """List the generations of taste factors that are kept: the one that serves first.

    Example: `twinset factors`
    """
    with session(context).connect(server) as client:
        for generation in client.factor_generations():
            state = "serves" if generation.active else "kept"
            typer.echo(f"{_line(generation)}, of {generation.imported:%Y-%m-%d %H:%M} UTC, {state}")


def activate_factors(
    context: typer.Context,
    number: Annotated[
        int, typer.Argument(metavar="[NUMBER]", min=0, help="By default the one that served before.")
    ] = 0,
    server: Server = None,
) -> None:
    """Let kept taste factors serve, for all calls at once.

    Example: `twinset activate-factors`
    """
    with session(context).connect(server) as client:
        start = time.monotonic()
        generation = client.activate_factors(number)
        typer.echo(f"{_line(generation)}, serves after {time.monotonic() - start:.3f} s")


def _line(generation: FactorGeneration) -> str:
    users, items = counted(generation.users, "user"), counted(generation.items, "item")
    return f"generation {generation.number}, factors {generation.fingerprint[:8]}: {users}, {items}"
