"""A folder whose disk can fail and lose its power: `disk.c` compiled, preloaded and controlled."""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk.c")
_CONTROL = struct.Struct("<qiiii")
_SYNC_ALL = """
import os, sys
def sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
for folder, _, files in os.walk(sys.argv[1]):
    sync(folder)
    for file in files:
        sync(os.path.join(folder, file))
"""


class Operation(enum.IntFlag):
    """What can be struck, as in `disk.c`."""

    WRITE = 1
    SYNC = 2
    RENAME = 4
    TRUNCATE = 8
    CREATE = 16
    UNLINK = 32


ANY = Operation(63)
GROWING = Operation.WRITE | Operation.TRUNCATE | Operation.CREATE
"""What a full disk refuses."""


class Action(enum.IntEnum):
    """What happens to a struck call."""

    FAIL_ONCE = 1
    FAIL_FOR_GOOD = 2
    KILL_BEFORE = 3
    KILL_AFTER = 4


def compiler() -> str | None:
    """Return the path of a C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(folder: Path) -> Path:
    """Return the library to preload, compiled into `folder`.

    Raises:
        subprocess.CalledProcessError: the compiler refuses; its output says why.
    """
    library = folder / "disk.so"
    command = compiler()
    assert command is not None, "a C compiler is needed: install gcc or clang, so that `cc` is found"
    subprocess.run([command, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl", "-lpthread"], check=True)
    return library


@dataclass(frozen=True, slots=True)
class PoweredFolder:
    """Watches `root`; what is known of it lies in `state`, on the same machine but outside of `root`."""

    library: Path
    root: Path
    state: Path

    def begin(self) -> None:
        """Start a journal whose disk holds `root` as it is now."""
        self.arm()
        (self.state / "durable").mkdir()
        self.journal.touch()
        self.run(["-S", "-c", _SYNC_ALL, str(self.root)])

    def arm(self) -> None:
        """Prepare for strikes alone: nothing is recorded."""
        self.state.mkdir(parents=True)
        self.root.mkdir(exist_ok=True)
        self.calm()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be watched, its children as well."""
        own = {"LD_PRELOAD": str(self.library), "DISK_ROOT": str(self.root), "DISK_STATE": str(self.state)}
        return dict(os.environ) | own

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    def run(self, arguments: Sequence[str]) -> None:
        """Run this Python under the watch to its end."""
        subprocess.run([sys.executable, *arguments], env=self.environment, check=True)

    def strike(self, operations: Operation, action: Action, after: int = 0, error: int = errno.EIO) -> None:
        """From now on let `after` of the operations pass, then strike the next (and all later, if for good)."""
        self._control(after, operations, action, error)

    def calm(self) -> None:
        """Let every operation pass."""
        self._control(0, Operation(0), 0, 0)

    @property
    def struck(self) -> int:
        """How many operations were struck since `strike`."""
        return int(_CONTROL.unpack((self.state / "control").read_bytes())[-1])

    def acknowledge(self, line: str) -> None:
        """Note that a caller was told `line` by now."""
        text = line.encode() + b"\n"
        with (self.state / "lock").open("ab") as lock, self.journal.open("r+b") as journal:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (end,) = struct.unpack("<q", journal.read(8))
            journal.seek(end)
            journal.write(b"A" + struct.pack("<Q", len(text)) + text)
            journal.seek(0)
            journal.write(struct.pack("<q", end + 9 + len(text)))

    def _control(self, left: int, operations: int, action: int, error: int) -> None:
        # Mapped by the processes: it must be changed in place, and what switches it on last.
        path = self.state / "control"
        with path.open("r+b" if path.exists() else "w+b", buffering=0) as file:
            file.write(_CONTROL.pack(left, 0, action, error, 0))
            file.seek(8)
            file.write(struct.pack("<i", operations))
