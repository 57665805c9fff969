"""`twinset-server reembed`."""

from __future__ import annotations

from typing import Annotated

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data
from twinset_server.commands.switching import Drop, Model, tell


def reembed(
    model: Model,
    drop: Drop = False,
    max_pictures_per_second: Annotated[
        float, typer.Option(min=0, help="Leave the rest of the machine to calls; 0 means no bound.")
    ] = 0.0,
    data: Data = None,
    address: Address = None,
    config: Config = None,
) -> None:
    """Embed all stored pictures with another model while the old one serves, then switch to it.

    Where it ends early the old one serves on, and the same command goes on where this ended.

    Example: twinset-server reembed mobilenet_v2-3a6ddb4e --max-pictures-per-second 20
    """
    request = admin_pb2.ReembedRequest(model=model, drop=drop, max_pictures_per_second=max_pictures_per_second)
    tell(run(lambda admin: admin.Reembed(request), data, address, config).switch)
