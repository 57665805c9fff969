"""An embedded Triton by itself, for programs that bring pictures and need no catalogue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator

from twinset.contract import ContractError
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.embedder import choose_local
from twinset_server.triton.health import HealthCheck, WrongAnswer, verify_interaction
from twinset_server.triton.interaction_model import ServedInteraction, read_interaction
from twinset_server.triton.served_model import ServedModel
from twinset_server.triton.transport import TransportError

_LOOK_S = 0.2
_STOP_GRACE_S = 0.5


async def stand_alone(settings: TritonSettings, ready: Callable[[str, str], None]) -> None:
    """Run one model until SIGTERM, SIGINT or, where stdin is a pipe, its end.

    The pipe ties the Triton to whoever started it: the kernel closes it even where that one is killed outright. Nothing
    restarts a Triton that fails, since a new one would have another address.

    Args:
        settings: the repository, the model, and how long to wait for it.
        ready: called with the model's name and the address once the known answer came out right.

    Raises:
        StartupError: the model can't be chosen or loaded or gives another answer than its known one, or Triton failed
            later on.
    """
    model = _choose(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    with _end_of_stdin(stopped.set):
        triton = EmbeddedTriton(model, settings.model_repository, startup_timeout_s=settings.startup_timeout_s)
        try:
            await _serve(triton, model, settings, ready, stopped)
        finally:
            await triton.stop(grace_s=_STOP_GRACE_S)
            triton.close()


async def _serve(
    triton: EmbeddedTriton,
    model: ServedModel | ServedInteraction,
    settings: TritonSettings,
    ready: Callable[[str, str], None],
    stopped: asyncio.Event,
) -> None:
    start = asyncio.create_task(_start(triton, model, settings))
    stop = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            return
        ready(model.name, start.result())
        while not stopped.is_set():
            if fault := triton.fault():
                raise StartupError(f"Triton failed ({fault}): start it again{triton.last_words()}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stopped.wait()
    finally:
        for task in (start, stop):
            task.cancel()
        await asyncio.wait({start, stop})


def _choose(settings: TritonSettings) -> ServedModel | ServedInteraction:
    """Return the model to run; one that ranks by factors only where it is named."""
    if settings.model is not None:
        try:
            if (found := read_interaction(settings.model_repository / settings.model)) is not None:
                return found
        except ContractError as error:
            raise StartupError(f"{error}: move the model's folder away and publish it anew") from error
    return choose_local(settings, settings.model)


async def _start(triton: EmbeddedTriton, model: ServedModel | ServedInteraction, settings: TritonSettings) -> str:
    """Return the address of the Triton, after it gave the known answer."""
    address = await triton.start()
    connection = Connection(address, settings.transport)
    try:
        if isinstance(model, ServedInteraction):
            await verify_interaction(model, connection, timeout_s=settings.startup_timeout_s)
        else:
            await HealthCheck(model).verify(connection, timeout_s=settings.startup_timeout_s)
    except WrongAnswer as error:
        raise StartupError(str(error)) from error
    except (BadReply, TransportError) as error:
        raise StartupError(f"model {model.name} does not answer: {error}{triton.last_words()}") from error
    finally:
        await connection.close()
    return address


@contextlib.contextmanager
def _end_of_stdin(call: Callable[[], None]) -> Iterator[None]:
    """Call `call` when stdin, being a pipe, ends. A terminal is left alone, and /dev/null would end at once."""
    if sys.stdin is None or not stat.S_ISFIFO(os.fstat(0).st_mode):
        yield
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            call()

    loop.add_reader(0, read)
    try:
        yield
    finally:
        loop.remove_reader(0)
