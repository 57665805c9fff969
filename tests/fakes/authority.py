"""An authority that signs certificates, and the files that servers and clients are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """Signs certificates, and writes what it made into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.certificate = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.certificate)

    def issue(self, name: str = "server", *names: str) -> Pair:
        """Write a certificate for `names`, the loopback's by default, over the one of the same `name`."""
        issued = self._authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        # As an operator would: each file in one step, the key first.
        for path, blobs in ((pair.key, [issued.private_key_pem]), (pair.certificate, issued.cert_chain_pems)):
            temporary = path.with_suffix(".new")
            temporary.write_bytes(b"".join(blob.bytes() for blob in blobs))
            temporary.replace(path)
        return pair
