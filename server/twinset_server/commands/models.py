"""`twinset-server models`."""

from __future__ import annotations

import typer

from twinset.v1 import admin_pb2
from twinset_server.commands.following import ask
from twinset_server.commands.options import Address, Config, Data

_WORDS = {
    admin_pb2.MODEL_STATE_ACTIVE: "active",
    admin_pb2.MODEL_STATE_KEPT: "kept",
    admin_pb2.MODEL_STATE_FILLING: "filling",
    admin_pb2.MODEL_STATE_AVAILABLE: "available",
}


def models(data: Data = None, address: Address = None, config: Config = None) -> None:
    """List the models of the repository, and what each is to the catalogue.

    Example: twinset-server models
    """
    found = ask(lambda admin: admin.ListModels(admin_pb2.ListModelsRequest()), data, address, config).models
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        if not one.name:
            typer.echo(one.problem, err=True)
            continue
        spaces = ", ".join(f"{space.name} {space.fingerprint[:8]}" for space in one.spaces)
        typer.echo(f"{one.name:{width}}  {_WORDS[one.state]:9}  {spaces}{_note(one)}")


def _note(one: admin_pb2.ModelInfo) -> str:
    if one.problem:
        return f"  ({one.problem})"
    if one.state == admin_pb2.MODEL_STATE_FILLING:
        return f"  ({one.pending_items:,} items to embed: reembed goes on)"
    if one.lacking_spaces:
        return "  (reembed)"
    return "  (activate)" if one.state == admin_pb2.MODEL_STATE_AVAILABLE else ""
