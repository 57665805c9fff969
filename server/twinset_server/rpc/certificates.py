"""TLS: certificates from files, taken up when they change, without a restart and without touching a connection."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from twinset_server.config import TlsSettings
from twinset_server.errors import StartupError
from twinset_server.stamps import Stamp, stamp

_log = logging.getLogger(__name__)


class CertificateError(ValueError):
    """A file can't be read, or certificate and key don't belong together; the message says which."""


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: Path
    key: Path
    client_authority: Path | None

    def stamps(self) -> list[Stamp | None]:
        return [stamp(path) for path in (self.certificate, self.key, self.client_authority) if path is not None]

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Return what they hold.

        Raises:
            CertificateError: see the class.
        """
        try:
            key, certificate = self.key.read_bytes(), self.certificate.read_bytes()
            authority = self.client_authority.read_bytes() if self.client_authority else None
        except OSError as error:
            raise CertificateError(f"{error.filename} can't be read: {error.strerror}") from error
        # gRPC would take anything, and fail each handshake.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, OSError) as error:
            raise CertificateError(
                f"{self.certificate} and {self.key} are no certificate in PEM and its private key, without a password "
                f"({error})"
            ) from error
        if authority is not None:
            try:
                context.load_verify_locations(cadata=authority.decode("ascii"))
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise CertificateError(f"{self.client_authority} holds no certificates in PEM ({error})") from error
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authority)


class _Rotation:
    """Gives each new connection the newest sound certificates. gRPC calls it from threads of its own."""

    def __init__(self, files: _Files) -> None:
        self._files = files
        self._stamps = files.stamps()
        self.first = files.read()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificates where they changed, None where those before go on."""
        stamps = self._files.stamps()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            found = self._files.read()
        except CertificateError as error:
            _log.error("certificates stay as they were: %s", error)
            return None
        _log.info("certificates were read again")
        return found


def credentials(settings: TlsSettings) -> grpc.ServerCredentials | None:
    """Return what a port is opened with; None where no certificate is set.

    Raises:
        StartupError: a file can't be used.
    """
    if settings.certificate is None or settings.key is None:
        return None
    try:
        rotation = _Rotation(_Files(settings.certificate, settings.key, settings.client_authority))
    except CertificateError as error:
        raise StartupError(f"{error}: see the settings tls.certificate, tls.key and tls.client_authority") from error
    return grpc.dynamic_ssl_server_credentials(
        rotation.first,
        rotation,  # type: ignore[arg-type] # it may give None, says the documentation: no change
        require_client_authentication=settings.client_authority is not None,
    )


def _no_password() -> str:
    # Without this OpenSSL asks for one at the terminal.
    return ""
