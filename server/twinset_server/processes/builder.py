"""The builder: what keeps the index near the store, in a process of its own that yields to those that answer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

from twinset_server.errors import DiskFull, StartupError, TwinsetError
from twinset_server.processes.order import Order
from twinset_server.processes.parent import Parent

_NICE = 10


class Work(Protocol):
    """What a builder does."""

    def run(self, stop: threading.Event) -> None:
        """Do what is due, again and again, until `stop` is set."""

    def rebuild(
        self, space: str, progress: Callable[[float], None], *, alone: bool, cancelled: Callable[[], bool]
    ) -> None:
        """Build the index of `space` from the store alone, while `run` goes on; tell the share done.

        With `alone` no older index is kept.

        Raises:
            TwinsetError: there is no such space, the index can't be built, or `cancelled` returned True.
        """


Opening = Callable[[Order], AbstractContextManager[Work]]


def build(opening: Opening) -> None:
    """Be the builder of the supervisor that started this process, until SIGTERM or its end.

    Raises:
        SystemExit: with 2, after the supervisor was told why this can't start; with 1, after the work failed.
    """
    parent = Parent()
    order = parent.order()
    _give_way()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    try:
        with opening(order) as work:
            running = threading.Thread(target=_run, args=(work, stop), name="builder")
            try:
                running.start()
                # In here too: the supervisor may end this process as soon as it hears that.
                parent.tell(ready=True)
                rebuilds = _Rebuilds(work, parent)
                for message in parent.orders():
                    rebuilds.obey(message)
            finally:
                stop.set()
                # SIGTERM may come while the thread starts; then it finds `stop` set.
                with contextlib.suppress(RuntimeError):
                    running.join()
    except StartupError as error:
        parent.tell(failed=str(error))
        sys.exit(2)


def _give_way() -> None:
    os.nice(_NICE)
    # Linux may share processors out between sessions first, and a priority then counts within its session only. This
    # process has one of its own, so that Ctrl-C doesn't reach it.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))


def _run(work: Work, stop: threading.Event) -> None:
    try:
        work.run(stop)
    finally:
        # Work that ended by itself has failed, and the supervisor starts it anew.
        if not stop.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


class _Rebuilds:
    """What the supervisor ordered and hasn't ended: `rebuild`, with the number of an operation, and `cancel` of one."""

    def __init__(self, work: Work, parent: Parent) -> None:
        self._work = work
        self._parent = parent
        self._cancelled: dict[int, threading.Event] = {}

    def obey(self, message: Mapping[str, Any]) -> None:
        operation = message["operation"]
        if message["do"] == "cancel":
            # One that ended meanwhile isn't there any more.
            if (cancelled := self._cancelled.get(operation)) is not None:
                cancelled.set()
            return
        self._cancelled[operation] = threading.Event()
        threading.Thread(target=self._rebuild, args=(message,), name=f"rebuild-{operation}", daemon=True).start()

    def _rebuild(self, message: Mapping[str, Any]) -> None:
        operation, tell = message["operation"], self._parent.tell
        try:
            self._work.rebuild(
                message["space"],
                lambda done: tell(operation=operation, done=min(done, 0.999)),
                alone=message["alone"],
                cancelled=self._cancelled[operation].is_set,
            )
        except TwinsetError as error:
            tell(operation=operation, error=str(error), full=isinstance(error, DiskFull))
        except Exception as error:  # the supervisor must hear of it, whatever it is
            tell(operation=operation, error=repr(error))
            raise
        else:
            tell(operation=operation, done=1.0)
        finally:
            del self._cancelled[operation]


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)
