"""The real server as processes that can be killed: its supervisor, workers and builder by their ids."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults import content

WORKERS = 2
_ROLES = re.compile(r"twinset_server\0(worker|builder)\0")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class KillableService:
    """`twinset-server serve` on one folder and one port, started again and again."""

    folder: Path
    triton: str
    log: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, and return when it says that it serves.

        Raises:
            RuntimeError: it ended instead; its log says why.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "twinset.toml"
        settings.write_text(
            f"""
[server]
port = {self.port}
workers = {WORKERS}
drain_s = 1
[triton]
url = "{self.triton}"
[store]
path = "{self.data}"
fold_at = 100
graph_at = 50
[admin]
port = 0
[spaces.{content.SPACE}]
dimension = {content.DIMENSION}
"""
        )
        with self.log.open("a") as errors:
            self.process = subprocess.Popen(
                self.command(settings),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "twinset serves on" in line:
                return
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    def command(self, settings: Path) -> list[str]:
        """Return what starts it."""
        return [sys.executable, "-m", "twinset_server", "serve", "--config", str(settings)]

    def children(self) -> dict[int, str]:
        """Return the ids of workers and builder, each with its role."""
        assert self.process is not None
        found = {}
        for pid in _children(self.process.pid):
            with contextlib.suppress(OSError):
                if role := _ROLES.search(Path(f"/proc/{pid}/cmdline").read_text()):
                    found[pid] = role[1]
        return found

    def kill(self, role: str) -> list[int]:
        """Kill one process of the role by -9, "supervisor" for all at once, and return who was killed."""
        assert self.process is not None
        if role == "supervisor":
            children = list(self.children())
            self.process.kill()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
            return [self.process.pid, *children]
        pids = [pid for pid, own in self.children().items() if own == role]
        for pid in pids[:1]:
            os.kill(pid, signal.SIGKILL)
        return pids[:1]

    def stop(self) -> None:
        """End it by SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        if self.process is not None and self.process.stdout:
            self.process.stdout.close()

    def wait_gone(self, pids: list[int], within_s: float) -> None:
        """Wait until none of the processes runs.

        Raises:
            TimeoutError: one still does.
        """
        end = time.monotonic() + within_s
        while alive := [pid for pid in pids if _runs(pid)]:
            if time.monotonic() > end:
                raise TimeoutError(f"processes {alive} still run")
            time.sleep(0.01)


def _children(pid: int) -> list[int]:
    pids = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
