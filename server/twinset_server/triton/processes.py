"""What the kernel tells of processes, read from /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")

_ASLEEP = frozenset("SI")
_DEAD = frozenset("ZX")
_STOPPED = "T"

_LISTENING = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `started` tells it from a later one of the same pid, in clock ticks since boot."""

    pid: int
    started: int

    def fault(self) -> str | None:
        """Return "gone", "dead" or "stopped" where the process can't do any work, else None."""
        stat = _read_stat(_PROC / str(self.pid))
        if stat is None or stat.started != self.started:
            return "gone"
        if stat.state in _DEAD:
            return "dead"
        return "stopped" if stat.state == _STOPPED else None

    def asleep(self) -> bool:
        """Return True where no thread of the process runs, waits for a processor or waits for a disk."""
        states = (_read_stat(task) for task in (_PROC / str(self.pid) / "task").glob("*"))
        return all(stat is None or stat.state in _ASLEEP for stat in states)

    def listens_on(self, port: int) -> bool:
        """Return True where the process itself, and not another, listens on the TCP port."""
        sockets = set()
        # gRPC listens on IPv4 addresses through IPv6 sockets, where there is IPv6.
        for table in (_PROC / "net" / "tcp", _PROC / "net" / "tcp6"):
            for line in table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else ():
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].partition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
        try:
            return bool(sockets) and any(_target(link) in sockets for link in (_PROC / str(self.pid) / "fd").iterdir())
        except (FileNotFoundError, ProcessLookupError):
            return False  # it ended while this looked


def find_process(pid: int) -> Process | None:
    """Return the process of `pid`, None where there is none."""
    stat = _read_stat(_PROC / str(pid))
    return None if stat is None else Process(pid, stat.started)


def session_processes(session: int) -> list[Process]:
    """Return the processes of a session, ended ones that nobody has waited for included."""
    found = []
    for folder in _PROC.glob("[0-9]*"):
        stat = _read_stat(folder)
        if stat is not None and stat.session == session:
            found.append(Process(int(folder.name), stat.started))
    return found


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    session: int
    started: int


def _read_stat(folder: Path) -> _Stat | None:
    """Return the fields of `stat` that matter here (proc_pid_stat(5)), None where the process is gone."""
    try:
        text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in brackets, may itself hold blanks and brackets: count from the last one.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(state=fields[0], session=int(fields[3]), started=int(fields[19]))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
