"""A child's side of the pipes to its supervisor: orders come in, messages go out, and the end of one ends the other.

Each message is a line of JSON. Settings travel this way and in no file, so that nobody else can read them.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from twinset_server.processes.order import Order

_PR_SET_PDEATHSIG = 1


class Parent:
    """The supervisor, as seen by a process that it started. Make it first of all, and once."""

    def __init__(self) -> None:
        """Take standard input and output for messages; what else is printed goes to standard error.

        From here on the kernel kills this process when its supervisor dies.

        Raises:
            SystemExit: it is dead already.
        """
        _die_with_parent()
        self._messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._telling = threading.Lock()
        self._orders = os.fdopen(os.dup(0), "r", encoding="utf-8")

    def order(self) -> Order:
        """Return the first order.

        Raises:
            SystemExit: the supervisor ended before it gave one.
        """
        line = self._orders.readline()
        if not line:
            sys.exit(1)
        return Order.from_json(json.loads(line))

    def orders(self) -> Iterator[Mapping[str, Any]]:
        """Return the orders after the first, until the supervisor ends; it blocks between them."""
        for line in self._orders:
            yield json.loads(line)

    def fileno(self) -> int:
        """Return what becomes readable when the supervisor says something, or ends."""
        return self._orders.fileno()

    def tell(self, **message: object) -> None:
        """Send a message, from any thread; a supervisor that is gone doesn't hear it."""
        try:
            with self._telling:
                self._messages.write(json.dumps(message) + "\n")
                self._messages.flush()
        except BrokenPipeError:
            logging.getLogger(__name__).warning("the supervisor is gone")


def _die_with_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG): {os.strerror(number)}")
    # Of a supervisor that died before this was set the kernel says nothing, and an order may wait in the pipe still;
    # but its end of the pipe was closed before.
    orders = select.poll()
    orders.register(0, 0)
    if any(event & select.POLLHUP for _, event in orders.poll(0)):
        sys.exit(1)
