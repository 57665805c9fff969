"""A worker: a whole gRPC server in a process of its own, on a port that it shares with the others."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvloop

from twinset_server.app import answering_worker
from twinset_server.errors import StartupError
from twinset_server.lineage.serving import Tell
from twinset_server.processes.order import Order
from twinset_server.processes.parent import Parent
from twinset_server.processes.signals import until_stopped

_SWITCH_S = 0.0005
"""For how long another thread may keep the interpreter from the event loop: about as long as a search takes."""

Answering = Callable[[Order, Tell], AbstractAsyncContextManager[int]]
"""Makes what answers while its context is open, and tells with which models; its value is the port."""


def _by_order(order: Order, tell: Tell) -> AbstractAsyncContextManager[int]:
    return answering_worker(order.settings, order.place, model_is_ready=order.model_is_ready, tell=tell)


def _ready(parent: Parent) -> None:
    # What the start made stays. Python would look through all of it now and then, for 45 ms in which nothing answers.
    gc.collect()
    gc.freeze()
    parent.tell(ready=True)


def work(answering: Answering = _by_order) -> None:
    """Be a worker of the supervisor that started this process, until SIGTERM or its end.

    Raises:
        SystemExit: with 2, after the supervisor was told why this can't start.
    """
    parent = Parent()
    order = parent.order()
    sys.setswitchinterval(_SWITCH_S)
    service = until_stopped(
        answering(order, lambda models: parent.tell(models=models)),
        lambda _: _ready(parent),
        drain_s=order.settings.server.drain_s,
        gone=parent.fileno(),
    )
    try:
        uvloop.run(service)
    except StartupError as error:
        parent.tell(failed=str(error))
        sys.exit(2)
