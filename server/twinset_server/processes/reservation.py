"""The port that all workers share, held from before the first of them listens until after the last has ended.

The operators' port is looked at as early: a second server on one machine should fail at once, and not when it has
loaded its model.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from twinset_server.config import AdminSettings, ServerSettings
from twinset_server.rpc.admin import admin_cannot_listen
from twinset_server.rpc.server import cannot_listen


@contextlib.contextmanager
def reserved(settings: ServerSettings) -> Iterator[int]:
    """Keep the address for processes of this user that set SO_REUSEPORT, while the context is open; give its port.

    Nothing listens by this: connections go to the workers alone.

    Raises:
        StartupError: another program or another server has the port, or the address is none of this machine's.
    """
    with contextlib.ExitStack() as stack:
        try:
            family, address = _probed(settings.host, settings.port)
            holder = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
        except OSError as error:
            raise cannot_listen(settings, error.strerror or str(error)) from error
        yield int(holder.getsockname()[1])


def check_free(settings: AdminSettings) -> None:
    """See that the operators' port can be had.

    Raises:
        StartupError: another program has it, or the address is none of this machine's.
    """
    try:
        # Here, as gRPC takes it, an address of IPv6 may stand in brackets, and nothing stands for all.
        _probed(settings.host.strip("[]") or None, settings.port)
    except OSError as error:
        raise admin_cannot_listen(f"{settings.host}:{settings.port}", error.strerror or str(error)) from error


def _probed(host: str | None, port: int) -> tuple[socket.AddressFamily, Any]:
    """Return where to bind for an address that nobody has.

    With SO_REUSEPORT alone, two servers would get one port and share its calls. A probe without it is refused wherever
    anybody listens or holds the port; SO_REUSEADDR lets it pass connections that only linger.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
    return family, address
