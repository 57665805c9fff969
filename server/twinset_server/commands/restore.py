"""`twinset-server restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data


def restore(
    backup: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    data: Data = None,
    address: Address = None,
    config: Config = None,
) -> None:
    """Put a backup in the place of the catalogue, after every byte of it was verified.

    A server takes no calls for a moment while it switches. Where nobody serves the folder, it is made if need be.

    Example: twinset-server restore /mnt/backups/twinset-20261122T031500.000000Z
    """
    path = backup if address else backup.absolute()
    request = admin_pb2.RestoreRequest(path=str(path))
    done = run(lambda admin: admin.Restore(request), data, address, config, make=True).restore
    typer.echo(
        f"restored {done.item_count:,} items and {done.picture_count:,} pictures, up to change {done.sequence:,}"
        + (f"; what was there before had {done.replaced_sequence:,} changes" if done.replaced_sequence else "")
    )
