"""Ends a process group when the process that started this one is gone: `python guard.py GROUP`.

The kernel ends tritonserver with the server (see `launcher`), but not the model's process: that is tritonserver's
child, and does not always notice. This one reads a pipe that only the server holds. A byte says that the group needs no
guard any more; an end without one, that the server was killed. Runs by itself and imports nothing of twinset.
"""

import contextlib
import os
import signal
import sys

DONE = b"."


def guard(group: int) -> None:
    """Wait for the pipe's end, and end the group unless it was said to be done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if not os.read(sys.stdin.fileno(), 1):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    guard(int(sys.argv[1]))
