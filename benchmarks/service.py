"""The real service as a child process, for programs that measure it from outside."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent

_PUBLISHED = re.compile(r"ublished: (.+)")
_READY = re.compile(r"twinset serves on (\S+)")


class ServiceFailed(RuntimeError):
    """The server or a command ended with an error; its own message has been printed."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server."""

    address: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """End the server as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(*, repository: Path, model: str, data: Path, log: Path) -> Iterator[Service]:
    """Run `twinset-server serve` on a free port while the context is open; it writes its log to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    ports = ["--port", "0", "--admin-port", "0"]
    command = [BIN / "twinset-server", "serve", *ports, "--data", data, "--model-repository", repository]
    with log.open("a") as errors:
        process = subprocess.Popen([*command, "--model", model], stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            yield Service(_address(process, log), process)
        finally:
            process.terminate()
            process.wait(timeout=60)


def run(program: str, *arguments: str | Path) -> None:
    """Run one of twinset's own commands, its output shown."""
    finished = subprocess.run([BIN / program, *arguments], check=False)
    if finished.returncode:
        raise ServiceFailed(f"{program} {arguments[0]} ended with status {finished.returncode}")


def export(backbone: str, repository: Path, *options: str) -> str:
    """Export a backbone, and return its model's name."""
    command = [BIN / "twinset-exporter", "export", backbone, "--repository", repository, *options]
    model = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if found := _PUBLISHED.search(line):
                model = Path(found[1]).name
    if process.returncode or model is None:
        raise ServiceFailed(f"twinset-exporter export ended with status {process.returncode}")
    return model


def _address(process: subprocess.Popen[str], log: Path) -> str:
    for line in process.stdout or ():
        if found := _READY.search(line):
            return found[1]
    raise ServiceFailed(f"the server did not start; the end of {log}:\n{log.read_text()[-2000:]}")
