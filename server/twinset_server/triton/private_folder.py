"""What one embedded Triton leaves on the machine, under names that tell whose it is: a folder, and shared memory.

A server that was killed outright can't clean up. The next one does, and only after processes that are no more.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path

from twinset_server.errors import StartupError
from twinset_server.triton.processes import find_process

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lies on Linux

_PREFIX = "twinset-triton"
_OWNED = re.compile(rf"{_PREFIX}-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<started>\d+)-")


class PrivateFolder:
    """A folder of this process for one Triton, and the prefix of that Triton's shared memory."""

    def __init__(self) -> None:
        """Make the folder.

        Raises:
            StartupError: there is no place for it, or programs may not run there.
        """
        try:
            parent = Path(tempfile.gettempdir()).resolve()
            if os.statvfs(parent).f_flag & os.ST_NOEXEC:
                raise StartupError(f"programs may not run in {parent} (noexec): set TMPDIR to a folder where they may")
            if " " in str(parent):
                raise StartupError(
                    f"the folder for temporary files, {parent}, has a space in its name, which Triton's Python "
                    "backend can't take: set TMPDIR to one without"
                )
            self.path = Path(tempfile.mkdtemp(prefix=_owner_prefix(), dir=parent))
        except OSError as error:
            raise StartupError(
                f"can't make a folder for temporary files ({error}): set TMPDIR to one that can be written"
            ) from error
        # systemd-tmpfiles ages what lies in /tmp, but leaves a locked folder alone.
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self.shared_memory_prefix = f"{self.path.name}-"

    def remove_shared_memory(self) -> None:
        """Remove the shared memory of a Triton that has ended."""
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all of it."""
        self.remove_shared_memory()
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned() -> None:
    """Remove folders and shared memory of this user whose owner is no more."""
    for parent in (Path(tempfile.gettempdir()), SHARED_MEMORY):
        for path in parent.glob(f"{_PREFIX}-*"):
            match = _OWNED.match(path.name)
            # Containers may share /dev/shm and not see each other's processes: those of another pid namespace stay.
            if match is None or int(match["namespace"]) != _pid_namespace():
                continue
            owner = find_process(int(match["pid"]))
            if owner is not None and owner.started == int(match["started"]):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                _unlink_own(path)


def _unlink_own(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return  # another user's


def _owner_prefix() -> str:
    this = find_process(os.getpid())
    if this is None:
        raise StartupError("/proc is not mounted: the embedded Triton needs it")
    return f"{_PREFIX}-{_pid_namespace()}-{this.pid}-{this.started}-"


def _pid_namespace() -> int:
    """Return the number of this process's pid namespace: pids mean something only within it."""
    return Path("/proc/self/ns/pid").stat().st_ino
