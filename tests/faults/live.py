"""The whole service as processes, with settings of one's own, for programs that press it from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service import export
from faults.kill.service import free_port

BACKBONE = "efficientnet_lite0"
_STARTS_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Live:
    """A running server. `port` is that of its callers, `log` what it has logged."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def pids(self, naming: str = "") -> list[int]:
        """Return the server and all of its descendants whose command line holds `naming`."""
        found = [self.process.pid]
        for pid in found:
            found += _children(pid)
        return [pid for pid in found if naming in _command(pid)]

    def private_bytes(self) -> int:
        """Return what the server and all of its descendants, Triton apart, hold of memory that they share with none."""
        return sum(_anonymous_bytes(pid) for pid in self.pids("twinset_server"))


Sections = Mapping[str, Mapping[str, object]]


@contextlib.contextmanager
def serving(folder: Path, sections: Sections, cores: Sequence[int] = ()) -> Iterator[Live]:
    """Run `twinset-server serve` while the context is open, on the cores named, or on all.

    Raises:
        RuntimeError: it didn't start; the message ends with its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    server = {"port": port, **sections.get("server", {})}
    given = {"admin": {"port": 0}, "store": {"path": str(folder / "data")}, **sections, "server": server}
    settings, log = folder / "twinset.toml", folder / "server.log"
    settings.write_text("".join(f"[{name}]\n{_toml(values)}" for name, values in given.items()))
    command = [sys.executable, "-m", "twinset_server", "serve", "--config", str(settings)]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    if cores:
        os.sched_setaffinity(process.pid, cores)
    live = Live(port, process, log)
    try:
        assert process.stdout is not None
        if not any(b"twinset serves on" in line for line in process.stdout):
            raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
        yield live
    finally:
        # What was stopped by a signal couldn't end.
        for pid in live.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        process.terminate()
        process.wait(timeout=_STARTS_WITHIN_S)
        if process.stdout:
            process.stdout.close()


def repository(given: Path | None) -> tuple[Path, str]:
    """Return a model repository and the name of its EfficientNet-Lite0, exported first where it holds none."""
    folder = given or Path("build/model_repository")
    published = sorted(path.name for path in folder.glob(f"{BACKBONE}-*") if path.name.count("-") == 1)
    return folder, published[0] if published else export(BACKBONE, folder)


def until(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """Wait for a condition, and return how long that took.

    Raises:
        TimeoutError: it took longer; the message tells `what`.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"after {within_s:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all lies; not a number where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def _toml(values: Mapping[str, object]) -> str:
    def text(value: object) -> str:
        match value:
            case bool():
                return str(value).lower()
            case int() | float():
                return str(value)
            case _:
                return f'"{value}"'

    return "".join(f"{name} = {text(value)}\n" for name, value in values.items())


def _children(pid: int) -> list[int]:
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [int(child) for child in (task / "children").read_text().split()]
    return pids


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _anonymous_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) << 10
    return 0
