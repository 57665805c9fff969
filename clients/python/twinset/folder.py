"""The pictures of a folder, each with the id that its item gets: one rule for putting and for embedding in bulk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, NoReturn

IdRule = Literal["path", "name", "stem"]
"""What becomes the id: the path below the folder without extension; the file's name; its name without extension."""

_EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".webp"))


class FolderError(Exception):
    """A folder is of no use as a folder of pictures; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Picture files by id, in the order of their paths, and how many other files there are."""

    pictures: dict[str, Path]
    others: int


def read_folder(folder: Path, rule: IdRule) -> Folder:
    """Return the pictures below `folder`. Names that begin with a dot are passed over.

    Raises:
        FolderError: the folder can't be read or holds no pictures, or two files would get one id.
    """
    if not folder.exists():
        raise FolderError(f"{folder} does not exist: name a folder of pictures")
    if not folder.is_dir():
        raise FolderError(f"{folder} is a file: name a folder of pictures")
    pictures: dict[str, Path] = {}
    others = 0
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith(".") or path.suffix.lower() not in _EXTENSIONS:
                others += 1
                continue
            item_id = id_of(path.relative_to(folder), rule)
            if item_id in pictures:
                raise FolderError(
                    f"{pictures[item_id]} and {path} would both be the item {item_id!r}: "
                    "rename one, or choose another --id (path, name or stem)"
                )
            pictures[item_id] = path
    if not pictures:
        found = f"only other files, {others} in all" if others else "it is empty"
        raise FolderError(f"{folder} holds no pictures (.jpg, .jpeg, .png or .webp): {found}")
    return Folder(pictures, others)


def id_of(name: PurePath, rule: IdRule) -> str:
    """Return the id of the picture file `name`, a path below its folder.

    Only a picture's extension is taken off: what stands behind the dot of `boot.2` belongs to the name.
    """
    if rule == "name":
        return name.name
    bare = name.with_suffix("") if name.suffix.lower() in _EXTENSIONS else name
    return bare.name if rule == "stem" else bare.as_posix()


def is_text(name: str) -> bool:
    """Return whether a file's name is text: Linux takes any bytes, and Python keeps others as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _unreadable(error: OSError) -> NoReturn:
    raise FolderError(f"{error.filename} can't be read: {error.strerror}") from error
