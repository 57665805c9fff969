"""The port that all workers share, held from before the first of them listens until after the last has ended."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from twinset_server.config import ServerSettings
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
            family, kind, protocol, _, address = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            # With SO_REUSEPORT alone, two servers would get one port and share its calls. A probe without it is refused
            # wherever anybody listens or holds the port; SO_REUSEADDR lets it pass connections that only linger.
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            holder = stack.enter_context(socket.socket(family, kind, protocol))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
        except OSError as error:
            raise cannot_listen(settings, error.strerror or str(error)) from error
        yield int(holder.getsockname()[1])
