"""`twinset-server backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder that holds backups, made if need be; best on another disk.")],
    name: Annotated[str, typer.Option(help="What the backup is called. [default: twinset- and the time]")] = "",
    data: Data = None,
    address: Address = None,
    config: Config = None,
) -> None:
    """Copy the catalogue as it is now, while it serves, with checksums.

    Ends with 1 where contents of pictures were lost before; the backup is sound without them.

    Example: twinset-server backup /mnt/backups
    """
    # A path of another machine is none that this one can complete.
    path = folder if address else folder.absolute()
    request = admin_pb2.BackupRequest(folder=str(path), name=name)
    made = run(lambda admin: admin.Backup(request), data, address, config).backup
    typer.echo(
        f"{made.path}: {made.item_count:,} items and {made.picture_count:,} pictures in {made.size_bytes:,} bytes, up "
        f"to change {made.sequence:,}"
    )
    for sha256 in made.lost_pictures:
        typer.echo(f"lost before: the picture with SHA-256 {sha256}; twinset-server check names its items", err=True)
    if made.lost_pictures:
        raise typer.Exit(1)
