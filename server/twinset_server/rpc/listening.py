"""Where a port is open to, and with what: TLS, or plaintext where that can't be overheard."""

from __future__ import annotations

import ipaddress

import grpc.aio

from twinset_server.config import AccessSettings, TlsSettings
from twinset_server.errors import StartupError
from twinset_server.rpc import certificates


def check_exposure(host: str, setting: str, tls: TlsSettings, access: AccessSettings) -> None:
    """See that other machines don't reach a port that isn't encrypted, unless the settings want that.

    Args:
        host: the address to listen on.
        setting: the name of that setting, for the message.
        tls: what connections are encrypted with.
        access: says whether plaintext will do.
    Raises:
        StartupError: they would.
    """
    if tls.certificate is not None or access.plaintext or _is_loopback(host):
        return
    raise StartupError(
        f"{setting} is {host}, which other machines reach, and connections there would not be encrypted: set "
        "tls.certificate and tls.key, or listen on 127.0.0.1, or set access.plaintext where a proxy or mesh encrypts"
    )


def open_port(server: grpc.aio.Server, address: str, tls: TlsSettings) -> int:
    """Listen at `address`, by TLS where a certificate is set; return the port.

    Raises:
        StartupError: a file of TLS can't be used.
        RuntimeError: the address is taken, or none of this machine's.
    """
    credentials = certificates.credentials(tls)
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
