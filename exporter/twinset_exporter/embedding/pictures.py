"""The pictures to embed: listed once, decoded when their turn comes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.folder import FolderError, IdRule, is_text, read_folder
from twinset.images import PictureError, PicturePipeline, decode
from twinset.vectors.manifest import TEXT_SEPARATOR
from twinset_exporter.errors import UsageError

# Each would end an id, or a file name, in the middle of a line of ids.txt or indexes.txt.
_ENDING = frozenset(("\n", "\r", TEXT_SEPARATOR))


class BadPicture(Exception):
    """A picture can't be embedded; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures in the order of their paths.

    Attributes:
        folder: where they lie.
        ids: of the items, by place.
        names: paths below the folder, by place.
        digest: SHA-256 over names, sizes and times of change.
    """

    folder: Path
    ids: list[str]
    names: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, place: int, pipeline: PicturePipeline) -> NDArray[np.uint8]:
        """Return the picture as the model sees it, `[H, W, 3]` uint8.

        Raises:
            BadPicture: it can't be read, decoded or named.
        """
        name = self.names[place]
        if not is_text(name):
            raise BadPicture("the file's name is not UTF-8: rename it")
        if not _ENDING.isdisjoint(name):
            raise BadPicture("the file's name holds a line break or \\x01: rename it")
        try:
            return decode((self.folder / name).read_bytes(), pipeline)
        except OSError as error:
            raise BadPicture(f"can't be read: {error.strerror}") from error
        except PictureError as error:
            raise BadPicture(str(error)) from error


def list_pictures(folder: Path, rule: IdRule) -> Listing:
    """Return the pictures below `folder`, by the id rule of `twinset put`.

    Raises:
        UsageError: the folder can't be read or holds none, or two files would get one id.
    """
    try:
        found = read_folder(folder, rule)
    except FolderError as error:
        raise UsageError(str(error)) from error
    digest = hashlib.sha256()
    names = []
    for path in found.pictures.values():
        name = path.relative_to(folder).as_posix()
        names.append(name)
        try:
            status = path.stat()
        except OSError:
            seen = "unreadable"
        else:
            seen = f"{status.st_size} {status.st_mtime_ns}"
        digest.update(f"{name}\0{seen}\0".encode("utf-8", "surrogateescape"))
    return Listing(folder, list(found.pictures), names, digest.hexdigest())
