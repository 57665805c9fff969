"""Damage to files of the index, as disks, kills and people do it: all of it must be found before a file is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twinset_server.catalog.index.manifest import sealed

Mutation = Callable[[Path, np.random.Generator], None]
"""Damages the file at a path; the generator decides where."""


def truncated(path: Path, rng: np.random.Generator) -> None:
    """Cut the end off."""
    with path.open("r+b") as file:
        file.truncate(int(rng.integers(path.stat().st_size)))


def bit_flipped(path: Path, rng: np.random.Generator) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def zeroed(path: Path, rng: np.random.Generator) -> None:
    """Overwrite a block that isn't zero already by zeros, as a lost write leaves it."""
    content = bytearray(path.read_bytes())
    places = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))
    start = int(rng.choice(places))
    length = min(int(rng.integers(1, 4097)), len(content) - start)
    content[start : start + length] = bytes(length)
    path.write_bytes(content)


def grown(path: Path, rng: np.random.Generator) -> None:
    """Append bytes."""
    with path.open("ab") as file:
        file.write(rng.bytes(int(rng.integers(1, 4097))))


def shuffled(path: Path, rng: np.random.Generator) -> None:
    """Swap two different bytes far apart."""
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    first = int(rng.integers(len(content)))
    second = int(rng.choice(np.flatnonzero(content != content[first])))
    content[[first, second]] = content[[second, first]]
    path.write_bytes(content.tobytes())


def removed(path: Path, rng: np.random.Generator) -> None:
    """Remove the file."""
    path.unlink()


def swapped(path: Path, rng: np.random.Generator) -> None:
    """Put another file of the same kind, or else of the same folder, in its place."""
    others = [
        other
        for other in sorted(path.parent.parent.rglob("*"))
        if other.is_file() and other != path and other.read_bytes() != path.read_bytes()
    ]
    alike = [other for other in others if other.name == path.name or other.suffix == path.suffix]
    shutil.copyfile((alike or others)[rng.integers(len(alike or others))], path)


def other_version(path: Path, rng: np.random.Generator) -> None:
    """Make a manifest one of another format, its checksum and all; other files get a version's number at the start."""
    content = path.read_bytes()
    if path.suffix == ".json":
        document = json.loads(content)
        del document["checksum"]
        versions = [name for name in ("format", "usearch") if name in document]
        document[str(rng.choice(versions))] = f"{rng.integers(100, 200)}"
        path.write_bytes(sealed(document))
    else:
        path.write_bytes(bytes([content[0] ^ (1 + int(rng.integers(255)))]) + content[1:])


MUTATIONS: dict[str, Mutation] = {
    "truncated": truncated,
    "bit flipped": bit_flipped,
    "zeroed": zeroed,
    "grown": grown,
    "shuffled": shuffled,
    "removed": removed,
    "swapped": swapped,
    "other version": other_version,
}


def files_of_newest(folder: Path) -> list[Path]:
    """Return the files with content that the newest generation in the folder of a space consists of, but not the older.

    Segments that two generations share are left out: with one of them damaged, both are.
    """
    manifests = sorted(folder.glob("generation-*.json"))
    newest = json.loads(manifests[-1].read_text())
    older = json.loads(manifests[-2].read_text()) if manifests[1:] else {}
    shared = {segment["number"] for segment in older.get("segments", [])}
    files = [manifests[-1], folder / f"dead-{newest['generation']:06d}.i64"]
    for segment in newest["segments"]:
        if segment["number"] not in shared:
            files.extend(sorted((folder / f"segment-{segment['number']:06d}").iterdir()))
    return [path for path in files if path.stat().st_size]
