"""What a power cut leaves: the journal of `disk.c` replayed up to a moment, and the folder rebuilt from it.

A content is durable as of its file's last sync, and a name as of its directory's. A file system may also write names
earlier, and parts of a content that is about to be synced: both are legal, and both are rebuilt on request.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HEAD = struct.Struct("<cQ")
_BLOCK = struct.Struct("<qq")
_END = struct.Struct("<q")

Entry = tuple[str, str]
"""Kind ("d" or "f") and identity."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened. `kind` is S: file synced, D: directory synced, L, U, M: name made, taken, moved,
    A: acknowledged to a caller."""

    kind: str
    text: bytes

    @property
    def line(self) -> str:
        return self.text.partition(b"\n")[0].decode()


@dataclass(frozen=True, slots=True)
class Sync:
    """The blocks that a file's sync made durable: where each begins, and its bytes."""

    file: str
    size: int
    blocks: list[tuple[int, bytes]]

    @classmethod
    def of(cls, record: Record) -> Sync:
        head, _, rest = record.text.partition(b"\n")
        file, size = head.decode().split()
        blocks, place = [], 0
        while place < len(rest):
            start, length = _BLOCK.unpack_from(rest, place)
            place += _BLOCK.size
            blocks.append((start, rest[place : place + length]))
            place += length
        return cls(file, int(size), blocks)


def read(path: Path) -> list[Record]:
    """Return the whole records of a journal, in the order in which they happened."""
    content = path.read_bytes()
    (end,) = _END.unpack_from(content) if content else (0,)
    records, place = [], _END.size
    while place < end:
        kind, length = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        records.append(Record(kind.decode(), content[place : place + length]))
        place += length
    return records


@dataclass(slots=True)
class Disk:
    """A disk as of some moment.

    Attributes:
        contents: durable content of each file.
        synced: names by directory as of its last sync.
        early: names by directory as they were seen by processes, for a file system that wrote them at once.
        acknowledged: what callers were told until then.
    """

    root: str = ""
    contents: dict[str, bytearray] = field(default_factory=dict)
    synced: dict[str, dict[str, Entry]] = field(default_factory=dict)
    early: dict[str, dict[str, Entry]] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)

    def apply(self, record: Record) -> None:
        """Take in the next record; the first of all is the sync of the root."""
        match record.kind:
            case "S":
                _write(self.contents, Sync.of(record))
            case "D":
                directory, names = _listed(record)
                self.root = self.root or directory
                self.synced[directory] = names
                self.early[directory] = dict(names)
            case "L":
                parent, kind, identity, name = record.line.split(" ", 3)
                self.early.setdefault(parent, {})[name] = (kind, identity)
            case "U":
                parent, name = record.line.split(" ", 1)
                self.early.setdefault(parent, {}).pop(name, None)
            case "M":
                head, old_name, new_name = record.text.decode().splitlines()
                old, new, kind, identity = head.split()
                self.early.setdefault(old, {}).pop(old_name, None)
                self.early.setdefault(new, {})[new_name] = (kind, identity)
            case "A":
                self.acknowledged.append(record.line)

    def rebuild(
        self, target: Path, chance: random.Random, *, early: float = 0.0, under_way: Record | None = None
    ) -> None:
        """Write what the cut leaves into `target`, which must be empty or absent.

        Args:
            chance: what decides.
            early: the probability that a directory's names are on disk before its sync.
            under_way: the sync that the cut interrupts: any of its blocks may be on disk.
        """
        contents: dict[str, bytes | bytearray] = {}
        if under_way is not None and under_way.kind == "S":
            sync = Sync.of(under_way)
            kept = {sync.file: bytearray(self.contents.get(sync.file, b""))}
            size = sync.size if chance.random() < 0.5 else len(kept[sync.file])
            blocks = [block for block in sync.blocks if chance.random() < 0.5 and block[0] < size]
            _write(kept, Sync(sync.file, size, blocks))
            contents |= kept
        for path, directory, identity in self._walk(target, self.root, chance, early):
            if directory:
                path.mkdir(parents=True, exist_ok=True)
            else:
                # A name may be durable before the content: then the file is there, and empty.
                path.write_bytes(contents.get(identity, self.contents.get(identity, b"")))

    def _walk(self, path: Path, identity: str, chance: random.Random, early: float) -> Iterator[tuple[Path, bool, str]]:
        yield path, True, identity
        names = self.early if chance.random() < early else self.synced
        for name, (kind, inner) in names.get(identity, {}).items():
            if kind == "d":
                yield from self._walk(path / name, inner, chance, early)
            else:
                yield path / name, False, inner


def _listed(record: Record) -> tuple[str, dict[str, Entry]]:
    directory, *lines = record.text.decode().splitlines()
    names = {}
    for line in lines:
        kind, identity, name = line.split(" ", 2)
        names[name] = (kind, identity)
    return directory, names


def _write(contents: dict[str, bytearray], sync: Sync) -> None:
    content = contents.setdefault(sync.file, bytearray())
    del content[sync.size :]
    content.extend(bytes(sync.size - len(content)))
    for start, block in sync.blocks:
        content[start : start + len(block)] = block[: max(0, sync.size - start)]
