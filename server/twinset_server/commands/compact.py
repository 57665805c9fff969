"""`twinset-server compact`."""

from __future__ import annotations

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data


def compact(data: Data = None, address: Address = None, config: Config = None) -> None:
    """Free what nothing needs any more, so that deleted content is in no file of the folder.

    Of a server, searches go on and writes wait while the database is written anew.

    Example: twinset-server compact
    """
    request = admin_pb2.CompactRequest()
    done = run(lambda admin: admin.Compact(request), data, address, config).compact
    typer.echo(
        f"{done.bytes_before:,} bytes before, {done.bytes_after:,} bytes now: {done.row_count:,} old rows and "
        f"{done.picture_count:,} unused pictures are gone"
    )
    if done.rebuilt_spaces:
        typer.echo(f"the index held deleted items and was built anew: {', '.join(done.rebuilt_spaces)}")
