"""`twinset-server health`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError

from twinset_server.commands.options import Config
from twinset_server.config import load
from twinset_server.errors import StartupError


def health(
    service: Annotated[str, typer.Argument(help="`readiness`, `startup` or `liveness`.")] = "readiness",
    address: Annotated[
        str | None, typer.Option(help="host:port of a server's probes; without it, the port that the settings name.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Longest wait for the answer.")] = 2.0,
    config: Config = None,
) -> None:
    """Ask a server how it is; end with 0 where that is well, and with 1 where it isn't.

    The server needs a port for that: set probes.port, or the variable TWINSET_PROBES__PORT.

    Example: twinset-server health readiness --address 127.0.0.1:50053
    """
    asked = address or _own(config)
    with grpc.insecure_channel(asked) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            said = error.code().name if isinstance(error, grpc.Call) else str(error)
            typer.echo(f"twinset-server: {service} can't be asked at {asked}: {said}", err=True)
            raise typer.Exit(1) from None
    typer.echo(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(1)


def _own(config: Path | None) -> str:
    """Return where a server of these settings answers on this machine."""
    try:
        port = load({}, config).probes.port
    except (StartupError, ValidationError) as error:
        typer.echo(f"twinset-server: {error}", err=True)
        raise typer.Exit(2) from None
    if not port:
        typer.echo("twinset-server: probes.port isn't set: name the server's with --address", err=True)
        raise typer.Exit(2)
    return f"127.0.0.1:{port}"
