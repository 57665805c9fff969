"""A model's card: who it is, what was proved of it, and the digest of each of its files.

`card.json` lies in the model's folder, beside `config.pbtxt`. The exporter writes it when it publishes the model, and
a server whose repository is local checks the files against it before Triton sees them: a file that was truncated,
edited or swapped since is told apart from the one that was proved.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from twinset.contract import MODEL_NAME

VERSION = 1
"""Version of the card's layout, under its key `card`."""

CARD = "card.json"
CARD_TEXT = "card.md"
"""The same for people. Nothing is read from it, so it has no digest."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Identity(Protocol):
    """What of a contract its card repeats."""

    @property
    def model(self) -> str:
        """The model's name in the repository."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is computed."""

    @property
    def artifact(self) -> str:
        """SHA-256 of what computes it."""


class CardError(ValueError):
    """A model has no card, or one that can't be read."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """SHA-256 of a file's bytes, 64 hexadecimal digits, and how many bytes they are."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, content: bytes) -> FileDigest:
        """Return the digest of `content`."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def of_file(cls, path: Path) -> FileDigest:
        """Return the digest of the file at `path`; about .1 s for 100 MB, in which other threads run on."""
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())

    def __str__(self) -> str:
        """Return both as text."""
        return f"{self.sha256} ({self.size_bytes:,} bytes)"


@dataclass(frozen=True, slots=True)
class Card:
    """What a reader of the files needs of a card; `content` is all of it.

    `files` maps each file of the model, by its path within the folder with `/`, to its digest. The card itself and its
    text for people are not among them. `components` has the same for each model that an ensemble is made of, which
    lies in a folder beside the ensemble's.
    """

    model: str
    fingerprint: str
    artifact: str
    files: Mapping[str, FileDigest]
    components: Mapping[str, Mapping[str, FileDigest]]
    content: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str | bytes) -> Card:
        """Return the card in JSON.

        Raises:
            CardError: it is no card, or one of another version.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise CardError(f"it is no JSON ({error})") from error
        if not isinstance(content, dict) or "card" not in content:
            raise CardError("it is no card of a model: it has no key 'card'")
        if content["card"] != VERSION:
            raise CardError(f"it is a card of version {content['card']}, this twinset reads version {VERSION}")
        try:
            return cls(
                model=str(content["model"]),
                fingerprint=_digest(content["fingerprint"]),
                artifact=_digest(content["artifact"]),
                files=_digests(content["files"]),
                components={
                    _beside(name): _digests(component["files"])
                    for name, component in content.get("components", {}).items()
                },
                content=content,
            )
        except CardError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CardError(f"it is malformed: {error!r}") from error

    def differences(self, folder: Path, contract: Identity) -> list[str]:
        """Return what is wrong with the model in `folder`, whose config carries `contract`; empty where all is right.

        Reads every file of the model and of its components. Of a component this card decides and not its own, which
        whoever edits the component could write anew.
        """
        found = [
            f"{CARD}: its {field} is {getattr(self, field)}, that of {folder.name}/config.pbtxt is {served}"
            for field, served in (
                ("model", contract.model),
                ("fingerprint", contract.fingerprint),
                ("artifact", contract.artifact),
            )
            if getattr(self, field) != served
        ]
        found += _differences(folder, self.files)
        for component, files in self.components.items():
            beside = folder.absolute().parent / component
            found += [f"{component}/{difference}" for difference in _differences(beside, files)]
        return found


def read_card(folder: Path) -> Card:
    """Return the card of the model in `folder`.

    Raises:
        CardError: there is none, or it can't be read; the message names the file.
    """
    path = folder / CARD
    try:
        return Card.parse(path.read_bytes())
    except FileNotFoundError as error:
        raise CardError(
            f"{path} is missing: the model has no card, so nothing tells what it was when published"
        ) from error
    except OSError as error:
        raise CardError(f"{path}: {error.strerror}") from error
    except CardError as error:
        raise CardError(f"{path}: {error}") from error


def problems(folder: Path, contract: Identity) -> list[str]:
    """Return why the model in `folder` is not the one that was published; empty where it is."""
    try:
        return read_card(folder).differences(folder, contract)
    except CardError as error:
        return [str(error)]


def _differences(folder: Path, files: Mapping[str, FileDigest]) -> list[str]:
    """Return which of the `files` are others in `folder`, and which ones there are besides."""
    found = []
    for name, expected in files.items():
        try:
            actual = FileDigest.of_file(folder / name)
        except OSError as error:
            found.append(f"{name}: {error.strerror}")
            continue
        if actual != expected:
            found.append(f"{name}: SHA-256 is {actual}, its card says {expected}")
    # Triton would serve the version 2 that somebody put beside 1, and read weights from files beside the graph.
    return found + [f"{name}: the card doesn't know this file" for name in _files(folder) if name not in files]


def _files(folder: Path) -> list[str]:
    """Return the model's files as they lie there, without the cards and what is hidden."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return [
        name
        for name in names
        if name not in (CARD, CARD_TEXT) and not any(part.startswith(".") for part in PurePosixPath(name).parts)
    ]


def _digests(entries: Mapping[str, Any]) -> dict[str, FileDigest]:
    return {_inside(name): FileDigest(_digest(entry["sha256"]), int(entry["bytes"])) for name, entry in entries.items()}


def _beside(name: str) -> str:
    """Return `name`, that of a model."""
    if not MODEL_NAME.fullmatch(name):
        raise CardError(f"its component {name!r} is no name of a model")
    return name


def _inside(name: str) -> str:
    """Return `name`, a path that stays in the model's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise CardError(f"it names {name!r}, which lies outside of the model's folder")
    return name


def _digest(text: object) -> str:
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise CardError(f"{text!r} is no SHA-256: 64 hexadecimal digits")
    return text
