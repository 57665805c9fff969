"""Contents of pictures in files named by their SHA-256, each kept once however many items show it.

`pictures/ab/cdef...` is on disk, directory entry included, before a row that names it commits. Who writes files holds
`pictures.lock` shared until that commit. What is here never removes a file under its final name: see `collector`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twinset_server.catalog.folder import sync
from twinset_server.catalog.store.failures import from_os_error
from twinset_server.errors import StoreUnavailable, TwinsetError

_log = logging.getLogger(__name__)

_SYNC_THREADS = 4
"""Files synced at a time: the file system's journal commits those that wait together."""


INCOMING = "incoming"
"""The directory of files that don't have their content, or aren't synced, yet."""


def path_of(folder: Path, sha256: str) -> Path:
    """Return where in `folder` a content lies."""
    return folder / sha256[:2] / sha256[2:]


class PictureFiles:
    """The folder of pictures' contents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / INCOMING
        self._pool = ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="catalog-pictures")

    def prepare(self) -> None:
        """Make the directories where there are none."""
        if self._incoming.is_dir():  # the last one made
            return
        for number in range(256):
            (self._folder / f"{number:02x}").mkdir(exist_ok=True)
        self._incoming.mkdir(exist_ok=True)
        sync(self._folder)

    def write(self, contents: Mapping[str, bytes]) -> dict[str, TwinsetError]:
        """Make `contents` durable under their SHA-256; return the errors of those that could not be.

        Each file is synced before it gets its name, and each directory once for all of its new files.
        """
        new = {sha256: content for sha256, content in contents.items() if not self._holds(sha256, content)}
        written = zip(new, self._pool.map(self._write_one, new, new.values()), strict=True)
        errors = {sha256: error for sha256, error in written if error is not None}
        # Directories of files that were there are synced as well: their entry may come from a write that failed here.
        directories = sorted({self._path(sha256).parent for sha256 in contents if sha256 not in errors})
        for directory, error in zip(directories, self._pool.map(_sync, directories), strict=True):
            if error is not None:
                errors |= {sha256: error for sha256 in contents if self._path(sha256).parent == directory}
        return errors

    def read(self, sha256: str) -> bytes:
        """Return the content named `sha256`.

        Raises:
            FileNotFoundError: there is none.
            StoreUnavailable: the file is damaged or can't be read.
        """
        path = self._path(sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            _log.error("picture %s can't be read: %s", path, error)
            raise StoreUnavailable(f"the picture with SHA-256 {sha256} can't be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            _log.error("picture %s is damaged: its content has another SHA-256", path)
            raise StoreUnavailable(
                f"the stored picture with SHA-256 {sha256} is damaged: put the item again with its picture"
            )
        return content

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _path(self, sha256: str) -> Path:
        return path_of(self._folder, sha256)

    def _holds(self, sha256: str, content: bytes) -> bool:
        # Compared as a whole, so that putting a picture again mends a damaged file.
        try:
            return self._path(sha256).read_bytes() == content
        except OSError:
            return False

    def _write_one(self, sha256: str, content: bytes) -> TwinsetError | None:
        temporary: Path | None = None
        try:
            # Several processes may write one content at a time, each to a file of its own.
            with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
                temporary = Path(file.name)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path(sha256))
        except OSError as error:
            _log.error("picture %s could not be written: %s", self._path(sha256), error)
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            return from_os_error(error)
        return None


def _sync(directory: Path) -> TwinsetError | None:
    try:
        sync(directory)
    except OSError as error:
        _log.error("directory %s could not be synced: %s", directory, error)
        return from_os_error(error)
    return None
