"""The generations of the index as files: what a backup copies and a check compares. See `index` for what is in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from twinset_server.maintenance import Finding, Severity

Int64Array = NDArray[np.int64]

_CHUNK = 1 << 20
_ADVICE = "answers are right without it; twinset-server rebuild makes a new one"


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that has a readable manifest.

    Attributes:
        space: the space's name.
        sequence: the last change that is in it.
        key: the last key of a vector that it covers.
        files: paths below the index's folder, the manifest first.
        segments: folders of its segments below the index's folder, in the order of their keys.
        dead: the file of keys that were dead at `sequence`, below the index's folder.
    """

    space: str
    number: int
    sequence: int
    key: int
    files: tuple[str, ...]
    segments: tuple[str, ...]
    dead: str


class Generations(Protocol):
    """Reads the folder `index`."""

    def kept(self, index: Path) -> Sequence[Generation]:
        """Return the generations with readable manifests, by space, the newest first."""

    def verify(self, index: Path) -> Sequence[Finding]:
        """Return what is wrong with their files, manifests that can't be read among it."""

    def rows(self, index: Path, generation: Generation) -> Int64Array:
        """Return the keys of all its rows, rising, those that were dead at its sequence among them."""

    def keys(self, index: Path, generation: Generation) -> Int64Array:
        """Return the keys of its rows that lived at its sequence, rising."""


class ManifestGenerations:
    """Implements `Generations` on manifests of format 1."""

    def kept(self, index: Path) -> Sequence[Generation]:
        """Return the generations with readable manifests, by space, the newest first."""
        found = []
        for path in _manifests(index):
            try:
                found.append(_generation(index, path))
            except (OSError, ValueError, KeyError, TypeError):
                # `verify` tells; a reader passes over it too.
                continue
        return sorted(found, key=lambda one: (one.space, -one.number))

    def verify(self, index: Path) -> Sequence[Finding]:
        """Return what is wrong with their files, manifests that can't be read among it."""
        findings = []
        for path in _manifests(index):
            name = str(path.relative_to(index.parent))
            try:
                content = json.loads(path.read_bytes())
                listed = [
                    (path.parent / _folder(segment) / file, facts)
                    for segment in content["segments"]
                    for file, facts in segment["files"].items()
                ]
                listed.append((path.parent / _dead(content), content["dead"]))
                _generation(index, path)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                findings.append(Finding(Severity.WARNING, name, "isn't a readable manifest", _ADVICE))
                continue
            for file, facts in listed:
                fault = _fault(file, facts["size"], facts["xxh3_128"])
                if fault:
                    subject = str(file.relative_to(index.parent))
                    findings.append(Finding(Severity.WARNING, subject, f"{fault}, says {name}", _ADVICE))
        return findings

    def rows(self, index: Path, generation: Generation) -> Int64Array:
        """Return the keys of all its rows, rising, those that were dead at its sequence among them."""
        parts = [np.fromfile(index / folder / "keys.i64", "<i8") for folder in generation.segments]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def keys(self, index: Path, generation: Generation) -> Int64Array:
        """Return the keys of its rows that lived at its sequence, rising."""
        return np.setdiff1d(self.rows(index, generation), np.fromfile(index / generation.dead, "<i8"))


def _manifests(index: Path) -> list[Path]:
    return sorted(index.glob("*/generation-*.json"))


def _dead(content: dict[str, int]) -> str:
    return f"dead-{content['generation']:06d}.i64"


def _folder(segment: dict[str, int]) -> str:
    return f"segment-{segment['number']:06d}"


def _generation(index: Path, path: Path) -> Generation:
    content = json.loads(path.read_bytes())
    home = path.parent.relative_to(index)
    number = int(content["generation"])
    segments = tuple(str(home / _folder(segment)) for segment in content["segments"])
    files = [
        str(home / _folder(segment) / name) for segment in content["segments"] for name in sorted(segment["files"])
    ]
    dead = str(home / _dead(content))
    return Generation(
        space=str(content["space"]["name"]),
        number=number,
        sequence=int(content["sequence"]),
        key=int(content["key"]),
        files=(str(path.relative_to(index)), dead, *files),
        segments=segments,
        dead=dead,
    )


def _fault(path: Path, size: int, xxh3: str) -> str | None:
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"has {actual} bytes instead of {size}"
        digest = xxhash.xxh3_128()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if digest.hexdigest() == xxh3 else "has another checksum than it was written with"
