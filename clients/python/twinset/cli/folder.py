"""The pictures of a folder, each with the id that its item gets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from twinset.cli.problem import Problem

IdRule = Literal["path", "name", "stem"]
"""What becomes the id: the path below the folder without extension; the file's name; its name without extension."""

_EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".webp"))


@dataclass(frozen=True, slots=True)
class Folder:
    """Picture files by id, in the order of their paths, and how many other files there are."""

    pictures: dict[str, Path]
    others: int


def read_folder(folder: Path, rule: IdRule) -> Folder:
    """Return the pictures below `folder`. Names that begin with a dot are passed over.

    Raises:
        Problem: the folder can't be read or holds no pictures, or two files would get one id.
    """
    if not folder.exists():
        raise Problem(f"{folder} does not exist: name a folder of pictures")
    if not folder.is_dir():
        raise Problem(f"{folder} is a file: name a folder of pictures")
    pictures: dict[str, Path] = {}
    others = 0
    for root, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith(".") or path.suffix.lower() not in _EXTENSIONS:
                others += 1
                continue
            item_id = _item_id(path, folder, rule)
            if item_id in pictures:
                raise Problem(
                    f"{pictures[item_id]} and {path} would both be the item {item_id!r}: "
                    "rename one, or choose another --id (path, name or stem)"
                )
            pictures[item_id] = path
    if not pictures:
        found = f"only other files, {others} in all" if others else "it is empty"
        raise Problem(f"{folder} holds no pictures (.jpg, .jpeg, .png or .webp): {found}")
    return Folder(pictures, others)


def _item_id(path: Path, folder: Path, rule: IdRule) -> str:
    if rule == "name":
        return path.name
    if rule == "stem":
        return path.stem
    return path.relative_to(folder).with_suffix("").as_posix()


def _unreadable(error: OSError) -> NoReturn:
    raise Problem(f"{error.filename} can't be read: {error.strerror}") from error
