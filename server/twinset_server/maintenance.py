"""What an operator does to the folder of a catalogue: the port, how far a work is, and what it reports, as values."""

from __future__ import annotations

import enum
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from twinset.contract import ModelContract
from twinset_server.domain import ModelState, Switched
from twinset_server.errors import OperationCancelled


@dataclass(frozen=True, slots=True)
class Progress:
    """What a work is doing: `done` of `total` units in this stage; `total` is 0 where it isn't known."""

    stage: str = "starting"
    unit: str = ""
    done: int = 0
    total: int = 0


class Work:
    """One work under way. It tells how far it is and may be cancelled, both from any thread."""

    def __init__(self) -> None:
        self._progress = Progress()
        self._cancelled = threading.Event()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._progress

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked to end it."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask it to end. It does so at its next `check`, and leaves nothing behind."""
        self._cancelled.set()

    def check(self) -> None:
        """Go on.

        Raises:
            OperationCancelled: it was cancelled.
        """
        if self._cancelled.is_set():
            raise OperationCancelled("the operation was cancelled; it left nothing behind")

    def stage(self, name: str, unit: str = "", total: int = 0) -> None:
        """Begin the next stage; see `check`."""
        self.check()
        self._progress = Progress(name, unit, 0, total)

    def advance(self, count: int = 1) -> None:
        """Tell that `count` more units are done; see `check`. One thread at a time may call it."""
        self.reach(self._progress.done + count)

    def reach(self, done: int) -> None:
        """Tell that `done` units are done; see `check`."""
        self._progress = replace(self._progress, done=done)
        self.check()


class Severity(enum.Enum):
    """How bad a finding is: space to free, something derived that is damaged, something stored that is."""

    INFO = 1
    WARNING = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: where, what, and what to do about it."""

    severity: Severity
    subject: str
    description: str
    advice: str


@dataclass(frozen=True, slots=True)
class BackupReport:
    """A finished backup. `lost_pictures` are SHA-256 of contents that were missing or damaged already."""

    path: Path
    sequence: int
    items: int
    pictures: int
    size_bytes: int
    lost_pictures: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """A finished restore. `replaced_sequence` is 0 where there was no catalogue before, or it couldn't be read."""

    sequence: int
    items: int
    pictures: int
    replaced_sequence: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A finished check: the findings, the worst first, and how much was compared."""

    findings: Sequence[Finding]
    sequence: int = 0
    vectors: int = 0
    pictures: int = 0
    generations: int = 0


@dataclass(frozen=True, slots=True)
class CompactReport:
    """A finished compaction: bytes of the folder's files, and how much of what was dropped."""

    bytes_before: int
    bytes_after: int
    rows: int
    pictures: int
    rebuilt: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """A finished rebuild: the names of the spaces."""

    spaces: Sequence[str]


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """A model that serves now: what was switched, and how many items and pictures were embedded for it."""

    switched: Switched
    items: int = 0
    pictures: int = 0


Report = BackupReport | RestoreReport | CheckReport | CompactReport | RebuildReport | SwitchReport


class Handle(Protocol):
    """What maintenance needs of whoever holds the folder: a supervisor, or a command on a folder that nobody serves."""

    @property
    def folder(self) -> Path:
        """The folder of the catalogue."""

    def paused(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which nobody else has a file of the folder open; then the catalogue is served again.

        Raises:
            StartupError: at the end, what is in the folder now can't be served.
        """

    def rebuild(self, space: str, *, alone: bool = False) -> AsyncGenerator[float, None]:
        """Build the index of a space from the stored vectors alone, yielding which share of that is done.

        Closing the generator early gives the rebuild up. With `alone` no older generation is kept.
        """


class Maintenance(Protocol):
    """Works on a folder, each to be told how far it is and whether to end by its `Work`."""

    async def backup(self, into: Path, name: str, work: Work) -> BackupReport:
        """Copy the catalogue, as it is at one moment, to `into / name`.

        Raises:
            BackupRefused: something of this name is there, or `into` can't be written.
            DiskFull, StoreUnavailable: it could not be written.
            OperationCancelled: it was cancelled; nothing is left of it.
        """

    async def restore(self, backup: Path, work: Work) -> RestoreReport:
        """Put a backup in the place of the catalogue.

        Raises:
            BackupUnsound: it is no backup of this version, or damaged; nothing was changed.
            DiskFull, StoreUnavailable: it could not be copied or not be served; the catalogue is what it was.
            OperationCancelled: it was cancelled in time; nothing was changed.
        """

    async def check(self, work: Work) -> CheckReport:
        """Compare tables, vectors, pictures and index; change nothing.

        Raises:
            OperationCancelled: it was cancelled.
        """

    async def compact(self, work: Work) -> CompactReport:
        """Drop what nothing needs, until deleted content is in no file.

        Raises:
            DiskFull, StoreUnavailable: it could not be done to the end; nothing that is needed was lost.
            OperationCancelled: it was cancelled.
        """

    async def rebuild(self, space: str, work: Work) -> RebuildReport:
        """Build the index of a space anew, of every one where `space` is empty.

        Raises:
            SpaceNotFound: there is none of this name.
            OperationCancelled: it was cancelled; the old index serves.
        """


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model, and what it is to the catalogue.

    Attributes:
        name: in the repository.
        state: None where the catalogue has nothing of it.
        fingerprints: of the spaces that it fills, by name.
        contract: what it promises; None where the repository holds it no more.
        lacking: the spaces whose vectors the catalogue lacks.
        pending: how many items changed since its vectors were made.
        problem: what is wrong with it; empty where nothing is.
    """

    name: str
    state: ModelState | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    contract: ModelContract | None = None
    lacking: Sequence[str] = ()
    pending: int = 0
    problem: str = ""


class Models(Protocol):
    """Lets models serve, each work to be told how far it is and whether to end by its `Work`.

    All but `list` raise ModelNotFound, ModelUnfit, VectorsLost, EmbedderUnavailable, DiskFull and StoreUnavailable, and
    OperationCancelled; what served does still then.
    """

    async def list(self) -> Sequence[ModelStatus]:
        """Return the models: the active one, the one to go back to, what is being filled, the others by name."""

    async def activate(self, model: str, work: Work, *, drop: bool) -> SwitchReport:
        """Let a model serve whose vectors are there.

        Raises:
            ModelNotFilled: they aren't.
        """

    async def rollback(self, work: Work, *, drop: bool) -> SwitchReport:
        """Let the model serve that did before.

        Raises:
            NoFormerModel: none is kept.
        """

    async def reembed(self, model: str, work: Work, *, drop: bool, max_per_second: float) -> SwitchReport:
        """Let a model serve, with the vectors of all pictures made first."""
