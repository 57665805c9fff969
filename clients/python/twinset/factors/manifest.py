"""What a folder of factors says about itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twinset.card import FileDigest
from twinset.contract import Metric

VERSION = 1

MANIFEST = "manifest.json"
ITEMS, ITEM_IDS = "items.npy", "items.txt"
USERS, USER_IDS = "users.npy", "users.txt"
LIKED, KNOWN, START = "fold_in_liked.npy", "fold_in_known.npy", "fold_in_start.npy"
FILES = (ITEMS, ITEM_IDS, USERS, USER_IDS, LIKED, KNOWN, START)

OF_MODEL = (ITEMS, ITEM_IDS, LIKED, KNOWN, START)
"""The files that the fingerprint is of: they make users' factors, so that those are none of its business."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def predicted_space(fingerprint: str) -> str:
    """Return the space of factors that a head predicts from pictures, one trained with factors of `fingerprint`.

    It is in the name, so that the head of one training can't stand in for that of another.
    """
    return f"taste_{fingerprint[:8]}"


def fingerprint_of(temperature: float, files: Mapping[str, FileDigest]) -> str:
    """Return the fingerprint of factors of a temperature and with these files, 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{VERSION} {float(temperature)!r}\n".encode())
    for name in OF_MODEL:
        digest.update(f"{name} {files[name].sha256}\n".encode())
    return digest.hexdigest()


class FactorsError(Exception):
    """A folder of factors can't be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in a folder of factors.

    Attributes:
        fingerprint: of the items' factors and of how users get theirs, 64 hexadecimal digits. Factors of two
            fingerprints don't compare.
        dimension: D.
        users: U.
        items: I.
        temperature: that a user's cosines are divided by, above 0; see `FoldIn`.
        files: the digest of each file by its name.
        metric: how factors compare.
        liked_from: the least value of an act that was a like in training; None where every act was one.
    """

    fingerprint: str
    dimension: int
    users: int
    items: int
    temperature: float
    files: Mapping[str, FileDigest]
    metric: Metric = Metric.INNER_PRODUCT
    liked_from: float | None = None

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        values = asdict(self) | {"metric": self.metric.value}
        values["files"] = {name: {"sha256": one.sha256, "bytes": one.size_bytes} for name, one in self.files.items()}
        return json.dumps({"version": VERSION, **values}, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of `folder`.

        Raises:
            FactorsError: there is none, or it can't be read, is malformed, or is of another version or other files.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values.pop("version")
            if version != VERSION:
                raise FactorsError(f"{path} is of version {version}, this twinset reads version {VERSION}")
            found = cls(**{**values, "metric": Metric(values["metric"]), "files": _digests(values["files"])})._checked()
            if (made := fingerprint_of(found.temperature, found.files)) != found.fingerprint:
                raise FactorsError(
                    f"{path} says that the factors are of {found.fingerprint}, but its files are of {made}: copy the "
                    "folder again"
                )
            return found
        except FileNotFoundError as error:
            raise FactorsError(
                f"{path} is missing: name the folder `factors` of a finished twinset-exporter train taste"
            ) from error
        except OSError as error:
            raise FactorsError(f"{path} can't be read: {error.strerror}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FactorsError(f"{path} is malformed ({error!r}): train again") from error

    def _checked(self) -> Manifest:
        """Return itself.

        Raises:
            ValueError: a value makes no sense.
        """
        if not _SHA256.fullmatch(self.fingerprint):
            raise ValueError(f"fingerprint {self.fingerprint!r}")
        for name in ("dimension", "users", "items"):
            if type(getattr(self, name)) is not int or getattr(self, name) < (2 if name == "dimension" else 0):
                raise ValueError(f"{name} {getattr(self, name)!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature!r}")
        if self.liked_from is not None and not isinstance(self.liked_from, int | float):
            raise ValueError(f"liked_from {self.liked_from!r}")
        if self.metric is not Metric.INNER_PRODUCT:
            raise ValueError(f"metric {self.metric.value}")
        if set(self.files) != set(FILES):
            raise ValueError(f"files {sorted(self.files)}")
        return self


def _digests(entries: Mapping[str, Any]) -> dict[str, FileDigest]:
    found = {name: FileDigest(entry["sha256"], entry["bytes"]) for name, entry in entries.items()}
    for name, digest in found.items():
        if not _SHA256.fullmatch(digest.sha256) or type(digest.size_bytes) is not int:
            raise ValueError(f"digest of {name}: {digest}")
    return found
