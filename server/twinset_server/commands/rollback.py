"""`twinset-server rollback`."""

from __future__ import annotations

from twinset.v1 import admin_pb2
from twinset_server.commands.following import run
from twinset_server.commands.options import Address, Config, Data
from twinset_server.commands.switching import Drop, tell


def rollback(drop: Drop = False, data: Data = None, address: Address = None, config: Config = None) -> None:
    """Let the model serve that did before the active one, with all that changed since.

    Example: twinset-server rollback
    """
    request = admin_pb2.RollbackModelRequest(drop=drop)
    tell(run(lambda admin: admin.RollbackModel(request), data, address, config).switch)
