"""How a connection to a server is encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to a server; its files are PEM.

    Attributes:
        authority: certificates of the authorities that may have signed the server's; None takes those that gRPC brings.
        certificate: of this client, for a server that asks for one; needs `key`.
        key: its private key.
        server_name: the name in the server's certificate, where that isn't the name in its address.

    Raises:
        ValueError: certificate and key don't come together.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key go together: give both, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel is opened with.

        Raises:
            ValueError: a file can't be read.
        """
        try:
            authority, certificate, key = (
                None if path is None else path.read_bytes() for path in (self.authority, self.certificate, self.key)
            )
        except OSError as error:
            raise ValueError(f"{error.filename} can't be read: {error.strerror}") from error
        return grpc.ssl_channel_credentials(authority, key, certificate)
