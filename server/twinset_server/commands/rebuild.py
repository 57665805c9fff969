"""`twinset-server rebuild`."""

from __future__ import annotations

from typing import Annotated

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data


def rebuild(
    space: Annotated[str, typer.Option(help="The space. [default: every one]")] = "",
    data: Data = None,
    address: Address = None,
    config: Config = None,
) -> None:
    """Build the index anew from the stored vectors alone, while the old one serves.

    Example: twinset-server rebuild --space visual
    """
    request = admin_pb2.RebuildRequest(space=space)
    done = run(lambda admin: admin.Rebuild(request), data, address, config).rebuild
    typer.echo(f"built from the stored vectors: {', '.join(done.spaces) or 'no space is there'}")
