"""Starts a program that dies with the process that started it: `python launcher.py PARENT_PID PROGRAM ARGUMENT...`.

A server that is killed outright can't stop its tritonserver, so the kernel does. The setting survives `exec` and ends
with a fork, which is why it is made here and not in the server: there it would need code between fork and exec, which
is unsafe beside gRPC's threads. Runs by itself and imports nothing of twinset.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def launch(parent: int, program: str, arguments: list[str]) -> None:
    """Become `program`; doesn't return."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    # The parent may have died before the setting was made; then nobody would tell.
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which this one belongs to, is gone")
    os.execv(program, [program, *arguments])  # noqa: S606 - a list of arguments, and no shell


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
