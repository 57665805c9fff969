"""`backup.json`, which says what a backup is, and `SHA256SUMS`, which lists its files as `sha256sum` does.

`backup.json` is written last and carries a checksum of itself and one of the list, so a folder that has a sound one is
a whole backup. The list can be checked without twinset: `sha256sum --check SHA256SUMS`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinset_server.catalog.maintenance.snapshot import Counts
from twinset_server.errors import BackupUnsound

NAME = "backup.json"
SUMS = "SHA256SUMS"

FORMAT = 1

_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<path>[^/\n][^\n]*)\n")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is.

    Attributes:
        made: the time, in ISO 8601, UTC.
        schema: version of the database's tables.
        size_bytes: of all files listed in `SHA256SUMS`.
        files: how many are listed.
        lost_pictures: SHA-256 of contents that the catalogue named and no longer had intact.
        sums_sha256: SHA-256 of `SHA256SUMS`.
    """

    made: str
    server_version: str
    schema: int
    counts: Counts
    size_bytes: int
    files: int
    lost_pictures: tuple[str, ...]
    sums_sha256: str

    def encode(self) -> bytes:
        """Return the content of `backup.json`."""
        fields = {"format": FORMAT, **dataclasses.asdict(self)}
        return (json.dumps({**fields, "checksum": _checksum(fields)}, indent=2) + "\n").encode()


def read(folder: Path, *, schema: int) -> Manifest:
    """Return the manifest of the backup in `folder`.

    Raises:
        BackupUnsound: there is none, it is damaged, or of another version than `schema`.
    """
    path = folder / NAME
    try:
        fields = json.loads(path.read_bytes())
        checksum = fields.pop("checksum")
        form = fields.pop("format")
    except FileNotFoundError as error:
        raise BackupUnsound(str(folder), f"{folder} is no backup: it has no {NAME}; name a folder that has") from error
    except OSError as error:
        raise BackupUnsound(str(path), f"{path} can't be read ({error.strerror}): use another backup") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BackupUnsound(
            str(path), f"{path} is damaged: it isn't what a backup wrote; use another backup"
        ) from error
    if checksum != _checksum({"format": form, **fields}):
        raise BackupUnsound(str(path), f"{path} is damaged: its checksum is another; use another backup")
    if form != FORMAT or fields["schema"] != schema:
        raise BackupUnsound(
            str(path),
            f"{path} is of format {form} and schema version {fields['schema']}, this twinset-server reads format "
            f"{FORMAT} and version {schema}: restore with twinset-server "
            f"{fields.get('server_version', 'of that version')}",
        )
    fields["counts"] = Counts(**fields["counts"])
    fields["lost_pictures"] = tuple(fields["lost_pictures"])
    return Manifest(**fields)


def sums(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the SHA-256 and the path below `folder` of each file listed.

    Raises:
        BackupUnsound: a line is malformed, or leads out of the folder.
    """
    path = folder / SUMS
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            match = _LINE.fullmatch(line)
            if match is None or ".." in Path(match["path"]).parts:
                raise BackupUnsound(str(path), f"{path} is damaged in line {number}: use another backup")
            yield match["sha256"], match["path"]


def _checksum(fields: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
