"""`twinset-server activate`."""

from __future__ import annotations

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data
from twinset_server.commands.switching import Drop, Model, tell


def activate(
    model: Model, drop: Drop = False, data: Data = None, address: Address = None, config: Config = None
) -> None:
    """Let a model serve whose vectors the catalogue has, for all calls at once: see `twinset-server models`.

    Example: twinset-server activate efficientnet_lite0-b1ee5167
    """
    request = admin_pb2.ActivateModelRequest(model=model, drop=drop)
    tell(run(lambda admin: admin.ActivateModel(request), data, address, config).switch)
