"""The model repository on disk: one folder a model, complete and immutable from the moment that it is seen.

    NAME-FINGERPRINT8/config.pbtxt
    NAME-FINGERPRINT8/1/model.onnx
    NAME-FINGERPRINT8/card.json, card.md

A head is a model like any other, and so is an interaction model, which ranks candidates. An ensemble has no graph: its
config names the models that it is made of, each in its own folder beside it.

Nothing in a model's folder changes any more, but for one thing: `prove --record` adds to its cards what Triton
answered, where they say that none was asked.

A model is written to a temporary folder beside its place, synced, and renamed. Publishers of one repository take turns
by a lock on the repository's folder, which the kernel frees when its holder dies; so every temporary folder that the
holder finds was left by a dead one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from twinset import card, head_contract, interaction_contract
from twinset.card import Identity
from twinset.contract import MODEL_NAME, ContractError, ModelContract
from twinset.head_contract import HeadContract
from twinset.interaction_contract import InteractionContract
from twinset_exporter import triton_config
from twinset_exporter.errors import ExportError
from twinset_exporter.held_folder import sync

CONFIG = "config.pbtxt"
MODEL = f"1/{triton_config.MODEL_FILE}"

_TEMPORARY = ".publishing-"
_REMOVED = ".removing-"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model in the repository; `parameters` are all that its config carries."""

    path: Path
    contract: ModelContract
    parameters: Mapping[str, str]

    def problems(self) -> list[str]:
        """Return why this is not what was published, by its card; empty where it is, byte by byte."""
        return card.problems(self.path, self.contract)


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """A head in the repository, a part of ensembles; otherwise like a model."""

    path: Path
    contract: HeadContract
    parameters: Mapping[str, str]

    def problems(self) -> list[str]:
        """Return why this is not what was published; see `PublishedModel`."""
        return card.problems(self.path, self.contract)


@dataclass(frozen=True, slots=True)
class PublishedInteraction:
    """An interaction model in the repository, which ranks candidates; otherwise like a model."""

    path: Path
    contract: InteractionContract
    parameters: Mapping[str, str]

    def problems(self) -> list[str]:
        """Return why this is not what was published; see `PublishedModel`."""
        return card.problems(self.path, self.contract)


@dataclass(frozen=True, slots=True)
class BrokenModel:
    """A folder that holds no model of twinset, and why."""

    path: Path
    reason: str


Published = PublishedModel | PublishedHead | PublishedInteraction
"""Whatever twinset published."""


class Repository:
    """Publishes and lists models."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> list[Published | BrokenModel]:
        """Return what is there, by name. A repository that doesn't exist yet is empty.

        Raises:
            ExportError: the folder can't be read.
        """
        with self._readable_errors("read"):
            if not self.root.exists():
                return []
            folders = sorted(entry for entry in self.root.iterdir() if entry.is_dir() and entry.name[0] != ".")
        return [_read(folder) for folder in folders]

    def model(self, name: str) -> Published | BrokenModel:
        """Return the model of that name, broken where there is none."""
        return _read(self.root / name)

    def make(self) -> None:
        """Make the folder where it doesn't exist, and find out now rather than after the work whether it takes files.

        Raises:
            ExportError: it can't be made, or not be written to.
        """
        with self._readable_errors("write to"):
            self.root.mkdir(parents=True, exist_ok=True)
            with self._locked():
                probe = self.root / f"{_TEMPORARY}probe"
                probe.mkdir(exist_ok=True)
                probe.rmdir()

    def publish(self, model: Identity, files: Mapping[str, bytes]) -> bool:
        """Make `model` visible, whole; return False where a model of its name is published already.

        That one computes the same, since the name carries the fingerprint. Its file may be another, as other versions
        of the tools make: it passed its own gate, and stays.

        Args:
            model: names the folder, and tells the artifact.
            files: contents by path within the folder.

        Raises:
            ExportError: the name isn't one folder's, what has the name is damaged, or the disk fails or is full.
                Nothing of the model is visible then.
        """
        if not MODEL_NAME.fullmatch(model.model):
            raise ExportError(f"{model.model!r} is no name for a model: use letters, digits, '_', '-' and '.'")
        place = self.root / model.model
        temporary = self.root / f"{_TEMPORARY}{model.model}"
        with self._readable_errors("write to"), self._locked():
            for leftover in (*self.root.glob(f"{_TEMPORARY}*"), *self.root.glob(f"{_REMOVED}*")):
                shutil.rmtree(leftover)
            if place.exists():
                _check_sound(place)
                return False
            try:
                _write(temporary, files)
                os.rename(temporary, place)  # noqa: PTH104 - the one call that publishes
            except BaseException:  # a full disk as much as Ctrl-C
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync(self.root)
        return True

    def record(self, model: PublishedModel, cards: Mapping[str, bytes]) -> None:
        """Put `cards` in place of the model's, each by one rename: a reader finds the old one or the new one, whole.

        What serves stays untouched, and so does its name: a card has no digest of its own. The one for machines comes
        last, so where it tells of a proof the one for people does too.

        Raises:
            ExportError: the disk fails, is full, or doesn't allow it.
        """
        with self._readable_errors("write to"), self._locked():
            for name in sorted(cards, key=lambda name: name == card.CARD):
                hidden = model.path / f".{name}"
                hidden.unlink(missing_ok=True)  # a killed run's
                _write(model.path, {hidden.name: cards[name]})
                hidden.replace(model.path / name)
            sync(model.path)

    def remove(self, model: Published) -> None:
        """Remove a model: out of sight by one rename, then its files. What a killed run leaves, the next one removes.

        Raises:
            ExportError: the disk fails, or doesn't allow it.
        """
        hidden = self.root / f"{_REMOVED}{model.path.name}"
        with self._readable_errors("write to"), self._locked():
            if hidden.exists():
                shutil.rmtree(hidden)
            os.rename(model.path, hidden)  # noqa: PTH104 - the one call that unpublishes
            sync(self.root)
            shutil.rmtree(hidden)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _readable_errors(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ExportError(
                f"can't {verb} the model repository {self.root}: {error.strerror}; choose another with --repository"
            ) from error


def _read(folder: Path) -> Published | BrokenModel:
    try:
        parameters = triton_config.parameters((folder / CONFIG).read_text(encoding="utf-8"))
        if head_contract.MARK in parameters:
            head = HeadContract.from_parameters(parameters)
            return PublishedHead(folder, head, parameters) if head.model == folder.name else _renamed(folder, head)
        if interaction_contract.MARK in parameters:
            ranks = InteractionContract.from_parameters(parameters)
            if ranks.model != folder.name:
                return _renamed(folder, ranks)
            return PublishedInteraction(folder, ranks, parameters)
        contract = ModelContract.from_parameters(parameters)
    except OSError as error:
        return BrokenModel(folder, f"{CONFIG}: {error.strerror}")
    except (ContractError, ValueError) as error:
        return BrokenModel(folder, str(error))
    if contract.model != folder.name:
        return _renamed(folder, contract)
    return PublishedModel(folder, contract, parameters)


def _renamed(folder: Path, contract: Identity) -> BrokenModel:
    return BrokenModel(folder, f"its contract is that of {contract.model}: the folder was renamed")


def _check_sound(place: Path) -> None:
    there = _read(place)
    if isinstance(there, BrokenModel):
        raise ExportError(f"{place} is in the way and is no model ({there.reason}): move it away, then export again")
    if problems := there.problems():
        raise ExportError(f"{place} is damaged ({'; '.join(problems)}): move it away, then export again")


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` below `folder`, durably: every file and every folder is synced."""
    folders = {folder}
    for name, content in files.items():
        path = folder / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.add(path.parent)
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for written in sorted(folders, reverse=True):
        sync(written)
