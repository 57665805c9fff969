"""A Triton of our own: the wheel's tritonserver as a child process on loopback, with one model, or a few."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twinset.contract import ContractError
from twinset_server.errors import StartupError
from twinset_server.triton import guard, launcher
from twinset_server.triton.connection import Connection
from twinset_server.triton.installation import Installation, find_installation
from twinset_server.triton.private_folder import PrivateFolder, remove_abandoned
from twinset_server.triton.processes import Process, find_process, session_processes
from twinset_server.triton.served_model import Servable, ServedModel, read_model, refuse_changed
from twinset_server.triton.transport import Refused

_HOST = "127.0.0.1"
_POLL_S = 0.02
_LAST_LINES = 12
_LARGEST_LOG = 8 * 2**20

_SCRATCH = Path("/tmp")  # noqa: S108 - not ours to choose
_SCRATCH_NAMES = "python_env_*"
"""Triton's Python backend makes a folder there at each start, and leaves it when it is ended quickly."""

_UNREMARKABLE = re.compile(r"I\d{4} |[+|]|[EW]\d{4} .*(CudaDriverHelper|pinned (system )?memory)")
"""Lines of the log that never tell of trouble: progress, tables, and that there is no GPU."""


class EmbeddedTriton:
    """One tritonserver. It can be started again after it was stopped, at the same address.

    Call `start` in a thread that lives as long as the server does: the kernel ends the child with that thread.
    """

    def __init__(
        self,
        model: Servable,
        repository: Path,
        *,
        startup_timeout_s: float,
        installation: Installation | None = None,
    ) -> None:
        """Check the model's files, and prepare the folder that the child runs on.

        Raises:
            StartupError: the model has no card, or its files aren't those that its card was written for; Triton isn't
                installed; or there is no place for the folder.
        """
        refuse_changed(repository / model.name, model)
        self._model = model
        self._repository = repository
        self._loaded = [model.name]
        self._startup_timeout_s = startup_timeout_s
        self._installation = installation or find_installation()
        remove_abandoned()
        self._folder = PrivateFolder()
        self._log = self._folder.path / "triton.log"
        self._child: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._scratch: set[Path] = set()
        self._processes: list[Process] = []
        # Held for as long as this lives, so that nobody else gets the port while a new child starts: whoever knows the
        # address may keep it.
        self._port_holder = socket.socket()
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._port_holder.bind((_HOST, 0))
            self._port = int(self._port_holder.getsockname()[1])
            self._installation.write_backends(self._folder.path / "backends")
            # Triton sees this one model alone, an ensemble's components with it, and loads those by itself. The path
            # holds no spaces wherever the repository lies.
            (self._folder.path / "models").mkdir()
            self._show(model)
        except OSError as error:
            self.close()
            raise StartupError(f"can't prepare {self._folder.path} for Triton: {error}") from error

    @property
    def address(self) -> str:
        """Where the child listens, or will: `host:port`, the same after every start."""
        return f"{_HOST}:{self._port}"

    @property
    def folder(self) -> Path:
        """The folder that the child runs on, its log in it; gone after `close`."""
        return self._folder.path

    @property
    def processes(self) -> Sequence[Process]:
        """The processes at work, tritonserver first, then those that run the model."""
        return self._processes

    async def start(self) -> str:
        """Return the address of the child once it has loaded the model and listens.

        Raises:
            StartupError: the child ended or took too long; the message has its last lines.
        """
        self._spawn()
        try:
            async with asyncio.timeout(self._startup_timeout_s):
                await self._until_listening()
        except TimeoutError:
            raise StartupError(
                f"tritonserver was not ready within triton.startup_timeout_s = {self._startup_timeout_s:g} s"
                f"{self.last_words()}"
            ) from None
        self._processes += [process for process in self._session() if process != self._processes[0]]
        self._scratch = _scratch_folders() - self._scratch
        return self.address

    async def describe(self, connection: Connection, *, timeout_s: float) -> ServedModel:
        """Return the model, as its files describe it.

        Raises:
            StartupError: it embeds no pictures.
        """
        if not isinstance(self._model, ServedModel):
            raise StartupError(f"model {self._model.name} embeds no pictures: serve another with --model NAME")
        return self._model

    def link(self, model: Servable) -> None:
        """Let the child see another model of the repository: it can be loaded then, and is not by itself.

        Raises:
            StartupError: it has no card, or its files aren't those that its card was written for.
        """
        refuse_changed(self._repository / model.name, model)
        self._show(model)

    async def load(self, name: str, connection: Connection, *, timeout_s: float) -> None:
        """Have the child serve one more model of the repository, from now on at every start.

        Raises:
            StartupError: it isn't what was published, or can't be loaded.
            TransportError: the child doesn't answer.
        """
        if name in self._loaded:
            return
        try:
            model = await asyncio.to_thread(read_model, self._repository / name)
            await asyncio.to_thread(self.link, model)
            before = set(self._session())
            await connection.load(name, timeout_s=timeout_s)
        except ContractError as error:
            raise StartupError(f"{error}: move the model's folder away and export it anew") from error
        except OSError as error:
            raise StartupError(f"can't prepare {self._folder.path} for {name}: {error}") from error
        except Refused as error:
            raise StartupError(f"tritonserver could not load model {name} ({error}){self.last_words()}") from error
        self._loaded.append(name)
        # Those that came by it: other models come and go.
        self._processes += [process for process in self._session() if process not in before]

    def fault(self) -> str | None:
        """Return what is wrong with a process of the child, None where all of them can work."""
        for process in self._processes:
            if fault := process.fault():
                name = "tritonserver" if process == self._processes[0] else "the model's process"
                return f"{name} {process.pid} is {fault}"
        self._trim_log()
        return None

    def asleep(self) -> bool:
        """Return True where no process of the child runs, or would if it had a processor."""
        return all(process.asleep() for process in self._processes)

    def last_words(self) -> str:
        """Return the last lines of the child's log that tell of trouble, to end an error message with."""
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        lines = [line for line in text.splitlines() if line.strip() and not _UNREMARKABLE.match(line)][-_LAST_LINES:]
        return "; Triton's last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""

    async def stop(self, *, grace_s: float = 0) -> None:
        """End the child and all of its processes: by SIGTERM for `grace_s` seconds, then by SIGKILL."""
        child, processes, self._processes = self._child, self._processes, []
        if child is None:
            return
        try:
            if grace_s > 0 and processes and processes[0].fault() is None:
                child.terminate()
                for _ in range(round(grace_s / _POLL_S)):
                    if processes[0].fault():
                        break
                    await asyncio.sleep(_POLL_S)
        finally:
            # Before the child is waited for: until then its pid, which names the group, can't be another's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        while child.poll() is None:  # noqa: ASYNC110 - no event tells of a child's end
            await asyncio.sleep(_POLL_S)
        self._child = None
        if self._guard is not None:
            self._guard.communicate(guard.DONE)
            self._guard = None
        self._folder.remove_shared_memory()
        for folder in self._scratch:
            # Only an empty one goes: another Triton that started at the same moment may have made it, and uses it then.
            with contextlib.suppress(OSError):
                folder.rmdir()

    def close(self) -> None:
        """Remove what the child has left behind, and give its port up; it must have been stopped."""
        self._port_holder.close()
        self._folder.remove()

    def _show(self, model: Servable) -> None:
        """Let the child see a model, and the components of an ensemble."""
        for name in (model.name, *model.contract.components):
            link = self._folder.path / "models" / name
            if not link.is_symlink():  # ensembles may share a backbone
                link.symlink_to((self._repository / name).resolve(), target_is_directory=True)

    def _session(self) -> Sequence[Process]:
        """Return the child's processes: each model has one."""
        return list(session_processes(self._processes[0].pid))

    def _spawn(self) -> None:
        command = [
            *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid())),
            str(self._installation.tritonserver),
            f"--model-repository={self._folder.path / 'models'}",
            f"--backend-directory={self._folder.path / 'backends'}",
            "--model-control-mode=explicit",
            # One that was taken away since must not keep the others from serving.
            *(f"--load-model={name}" for name in self._loaded if (self._repository / name).is_dir()),
            "--disable-auto-complete-config",
            "--allow-http=false",
            "--allow-metrics=false",
            f"--grpc-address={_HOST}",
            f"--grpc-port={self._port}",
            "--reuse-grpc-port=1",
            "--pinned-memory-pool-byte-size=0",
            "--exit-timeout-secs=3",
            f"--backend-config=python,shm-region-prefix-name={self._folder.shared_memory_prefix}",
        ]
        self._scratch = _scratch_folders()
        # Appended to, so that cutting it short leaves no hole.
        self._log.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - a list of arguments, and no shell
                command,
                env=self._installation.environment(),
                cwd=self._folder.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C in the server's terminal doesn't reach it, and one signal ends all of it.
                start_new_session=True,
            )
        self._guard = subprocess.Popen(  # noqa: S603 - a list of arguments, and no shell
            [sys.executable, "-I", "-S", guard.__file__, str(self._child.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        process = find_process(self._child.pid)
        if process is None:
            raise StartupError("/proc is not mounted: the embedded Triton needs it")
        self._processes = [process]

    async def _until_listening(self) -> None:
        while True:
            if fault := self.fault():
                raise StartupError(
                    f"tritonserver could not load model {self._model.name} ({fault}): export it anew if its file is "
                    f"damaged{self.last_words()}"
                )
            if self._processes[0].listens_on(self._port):
                return
            await asyncio.sleep(_POLL_S)

    def _trim_log(self) -> None:
        # Triton writes a line for some failed requests, and the server may run for years.
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > _LARGEST_LOG:
                os.truncate(self._log, 0)


def _scratch_folders() -> set[Path]:
    return set(_SCRATCH.glob(_SCRATCH_NAMES))
