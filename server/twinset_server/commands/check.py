"""`twinset-server check`."""

from __future__ import annotations

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data

_WORDS = {
    admin_pb2.SEVERITY_INFO: "info",
    admin_pb2.SEVERITY_WARNING: "warning",
    admin_pb2.SEVERITY_ERROR: "error",
}


def check(data: Data = None, address: Address = None, config: Config = None) -> None:
    """Compare tables, vectors, pictures and index, every checksum; change nothing.

    Ends with 1 where something is damaged or lost.

    Example: twinset-server check
    """
    found = run(lambda admin: admin.Check(admin_pb2.CheckRequest()), data, address, config).check
    for finding in found.findings:
        typer.echo(f"{_WORDS[finding.severity]}: {finding.subject} {finding.description}: {finding.advice}")
    more = found.finding_count - len(found.findings)
    if more:
        typer.echo(f"and {more:,} more")
    typer.echo(
        f"checked {found.vector_count:,} vectors, {found.picture_count:,} pictures and {found.generation_count:,} "
        f"generations of the index, up to change {found.sequence:,}: {found.finding_count or 'no'} findings"
    )
    if any(finding.severity != admin_pb2.SEVERITY_INFO for finding in found.findings):
        raise typer.Exit(1)
