"""`twinset-server token`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from twinset_server.access import Scope, TokenFileError, new_token, read_tokens, to_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def token(
    name: Annotated[str, typer.Argument(help="Whose it is: letters, digits, '.', '_' and '-'.")],
    file: Annotated[Path, typer.Option(metavar="FILE", help="The file that access.tokens names; made if need be.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What it is good for; may be repeated. `write` doesn't bring `read` along.")
    ],
    calls_per_s: Annotated[
        float | None, typer.Option(metavar="RATE", min=0.001, help="How many calls a second it may make, at most.")
    ] = None,
) -> None:
    """Make a token, print it, and add its digest to the file of tokens.

    It is printed once and kept nowhere. A server that has the file in use takes it up within a second; one whose lines
    you remove from the file is refused as soon.

    Example: twinset-server token shop --file tokens.toml --scope read --scope write
    """
    if not _NAME.fullmatch(name):
        raise _failure(f"a token's name has 1 to 64 letters, digits, '.', '_' and '-', not {name!r}")
    try:
        names = [one.name for one in read_tokens(file)] if file.exists() else []
        if name in names:
            raise _failure(f"{file} has a token {name!r} already: remove its lines first, or choose another name")
        secret, made = new_token(name, scope, calls_per_s)
        before = file.read_text(encoding="utf-8").rstrip("\n") + "\n\n" if names else ""
        _replace(file, before + to_toml(made))
    except TokenFileError as error:
        raise _failure(str(error)) from None
    except OSError as error:
        raise _failure(f"{file} can't be written ({error.strerror})") from None
    typer.echo(secret)


def _replace(file: Path, content: str) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(file)


def _failure(message: str) -> typer.Exit:
    typer.echo(f"twinset-server: {message}", err=True)
    return typer.Exit(2)
