"""What holds for every command: the server, and how long to wait for it."""

from __future__ import annotations

from typing import Annotated

import typer

from twinset.cli.problem import Problem
from twinset.client import Client
from twinset.tls import Tls

Server = Annotated[
    str | None, typer.Option("--server", metavar="HOST:PORT", help="The server, instead of the one named before.")
]


class Session:
    """What the options before the command's name say."""

    def __init__(self, server: str, timeout_s: float, tls: Tls | None = None, token: str | None = None) -> None:
        self.server = server
        self.timeout_s = timeout_s
        self.tls = tls
        self.token = token

    def connect(self, server: str | None) -> Client:
        """Return a client; `server` is the one that the command itself was given, if any."""
        try:
            return Client(server or self.server, timeout_s=self.timeout_s, tls=self.tls, token=self.token)
        except ValueError as error:
            raise Problem(str(error)) from error


def session(context: typer.Context) -> Session:
    """Return the session of a command."""
    found = context.find_object(Session)
    assert found is not None  # noqa: S101 - the callback has set it
    return found
