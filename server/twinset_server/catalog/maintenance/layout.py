"""Where things lie in the folder of a catalogue, and the locks by which its processes take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twinset_server.errors import StoreUnavailable
from twinset_server.maintenance import Work

INCOMING = "incoming"
"""The folder within `pictures` of files that have no name yet."""

_TRY_EVERY_S = 0.01
_FEED_ENDS_S = 30.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths within the folder at `path`, a catalogue's or a backup's."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "catalog.sqlite"

    @property
    def pictures(self) -> Path:
        """The folder of pictures' contents."""
        return self.path / "pictures"

    @property
    def index(self) -> Path:
        """The folder of the generations."""
        return self.path / "index"

    def picture(self, sha256: str) -> Path:
        """Return the file of a picture's content."""
        return self.pictures / sha256[:2] / sha256[2:]

    def picture_folders(self) -> list[Path]:
        """Return the folders that hold contents, by name."""
        if not self.pictures.is_dir():
            return []
        return sorted(path for path in self.pictures.iterdir() if path.is_dir() and path.name != INCOMING)

    def size_bytes(self) -> int:
        """Return how many bytes all files below the folder have; those that vanish meanwhile don't count."""
        total = 0
        for directory, _, names in os.walk(self.path):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    total += (Path(directory) / name).lstat().st_size
        return total

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep every other writer of the database out; as any of them, wait for the turn."""
        with contextlib.ExitStack() as stack:
            with _locked(self.path / "turn.lock", fcntl.LOCK_EX):
                stack.enter_context(_locked(self.path / "write.lock", fcntl.LOCK_EX))
            yield

    @contextlib.contextmanager
    def keeping_pictures(self) -> Iterator[None]:
        """Keep contents from being removed. Writers go on; the collector comes again later.

        The lock is the kernel's: a killed backup gives it up, where rows of a lease would stay behind.
        """
        with _locked(self.path / "pictures.lock", fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def removing_pictures(self, work: Work) -> Iterator[None]:
        """Be the only one to touch pictures, for as short as possible; see `Work.check`.

        Raises:
            StoreUnavailable: a feed that puts pictures doesn't end.
        """
        give_up = time.monotonic() + _FEED_ENDS_S
        with contextlib.ExitStack() as stack:
            # In the order of all who take several.
            for name in ("feeds.lock", "pictures.lock"):
                descriptor = _opened(self.path / name)
                stack.callback(os.close, descriptor)
                # Not blocking: a request that waits can't be cancelled.
                while not _taken(descriptor):
                    work.check()
                    if time.monotonic() > give_up:
                        raise StoreUnavailable(
                            "a ReplaceCatalog or a backup has kept pictures from being removed for "
                            f"{_FEED_ENDS_S:.0f} s: compact again when it has ended"
                        )
                    time.sleep(_TRY_EVERY_S)
            yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        # Closing gives the lock up.
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
