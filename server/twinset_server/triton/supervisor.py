"""Keeps one Triton serving one healthy model, and tells who may use it when."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Coroutine

from twinset_server.config import TritonSettings
from twinset_server.errors import EmbedderUnavailable, StartupError
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.health import HealthCheck, WrongAnswer
from twinset_server.triton.host import Host
from twinset_server.triton.served_model import ServedModel
from twinset_server.triton.transport import TimedOut, TransportError, Unreachable

RETRY_AFTER_S = 2.0
"""What a caller is told to wait: about as long as a small model takes to start."""

_TICK_S = 0.2
_PROBE_PERIOD_S = 1.0
_PROBE_SHARE = 0.02
"""The most of Triton's time that probes may take: a heavy model is probed less often."""
_LONGEST_PROBE_PERIOD_S = 10.0
_ASLEEP_TICKS = 8
_ASLEEP_SHARE = 0.75
_STOP_GRACE_S = 0.5
"""Enough for requests under way. After them Triton unloads the model, which takes seconds, and nothing needs that."""
_LONGEST_PAUSE_S = 5.0
_NEAR_PAUSE_S = 0.5
"""The longest pause before a Triton that another process of this server may start anew is tried again."""
_REPORT_PERIOD_S = 60.0

_log = logging.getLogger(__name__)


class State(enum.Enum):
    """How the model is."""

    STARTING = "starting"
    READY = "ready"
    DOWN = "down"


class _Fault(Exception):
    """Triton needs a new start; the message says why."""


_EXPECTED = (StartupError, TransportError, WrongAnswer, BadReply, _Fault)


class Supervisor:
    """Starts a host, proves its model by the known answer, watches it, and starts it anew when it fails.

    Nobody gets the connection before the known answer came out right, nor after the first doubt.
    """

    def __init__(
        self,
        host: Host,
        settings: TritonSettings,
        *,
        model: ServedModel | None = None,
        expected_fingerprint: str | None = None,
        sharers: int = 1,
    ) -> None:
        """Prepare to watch `host`.

        Args:
            host: where Triton runs.
            settings: how long to wait for it.
            model: the model, where it is known before Triton is reached.
            expected_fingerprint: a model with another one is refused.
            sharers: how many processes of this server watch the same Triton: each probes it less often, and those that
                don't start it themselves try soon again to reach it.
        """
        self._host = host
        self._probe_period_s = sharers * _PROBE_PERIOD_S
        self._probe_share = _PROBE_SHARE / sharers
        shared_and_elsewhere = sharers > 1 and settings.url is not None
        self._longest_pause_s = _NEAR_PAUSE_S if shared_and_elsewhere else _LONGEST_PAUSE_S
        self._settings = settings
        self._expected_fingerprint = expected_fingerprint
        self._model = model
        self._check: HealthCheck | None = None
        self._state = State.STARTING
        self._down_since_s: float | None = None
        self._losses = 0
        self._reason = "it is starting"
        self._closing = False
        self._news = asyncio.Event()
        self._doubt = asyncio.Event()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._reported = ""
        self._report_again_s = 0.0

    @property
    def state(self) -> State:
        """How the model is now."""
        return self._state

    @property
    def address(self) -> str:
        """Where Triton listens, or will: `host:port`."""
        return self._host.address

    @property
    def model(self) -> ServedModel:
        """The model.

        Raises:
            EmbedderUnavailable: it isn't known yet, since its Triton hasn't been reached so far.
        """
        if self._model is None:
            raise self._unavailable()
        return self._model

    async def open(self, *, wait: bool) -> None:
        """Begin; with `wait`, return when the model is ready.

        Raises:
            StartupError: with `wait`, the model can't be made ready. Without, it is tried again and again.
        """
        first: asyncio.Future[None] | None = asyncio.get_running_loop().create_future() if wait else None
        self._task = asyncio.create_task(self._run(first), name="triton-supervisor")
        if first is not None:
            await first

    async def close(self) -> None:
        """End supervision and the host."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._set_down("the server is stopping")
        self._closing = True
        self._news.set()
        try:
            await self._disconnect()
            await self._host.stop(grace_s=_STOP_GRACE_S)
        finally:
            self._host.close()

    @property
    def connection(self) -> Connection | None:
        """The connection to the model; None while that isn't proven healthy."""
        return self._connection if self._state is State.READY else None

    def connected(self) -> Connection:
        """Return `connection`.

        Raises:
            EmbedderUnavailable: there is none now.
        """
        if (connection := self.connection) is None:
            raise self._unavailable()
        return connection

    @property
    def losses(self) -> int:
        """How often a connection was lost: an answer counts for nothing where this rose since it was asked for."""
        return self._losses

    @property
    def down_for_s(self) -> float:
        """For how long nobody has got the connection; 0 while it is there, or was never lost."""
        return 0.0 if self._down_since_s is None else asyncio.get_running_loop().time() - self._down_since_s

    async def ready(self, *, timeout_s: float) -> None:
        """Return when there is a connection, waiting up to `timeout_s` for it.

        Raises:
            EmbedderUnavailable: there is none by then, or there will be none any more.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.connection is None and not self._closing:
                    await self._news.wait()
        if self.connection is None:
            raise self._unavailable()

    @property
    def host(self) -> Host:
        """Where Triton runs."""
        return self._host

    async def load(self, name: str) -> None:
        """Have Triton serve one more model.

        Raises:
            StartupError: it can't be loaded, or isn't what was published.
            TransportError: Triton doesn't answer.
            EmbedderUnavailable: it is away.
        """
        await self._host.load(name, self.connected(), timeout_s=self._settings.startup_timeout_s)

    def doubt(self, connection: Connection, reason: str) -> None:
        """Take note that a request over `connection` failed: it is used again once the known answer is right."""
        if connection is self._connection:
            _log.warning("the model is checked, since a request failed: %s", reason)
            self._set_down(f"a request failed: {reason}")
            self._doubt.set()

    async def _run(self, first: asyncio.Future[None] | None) -> None:
        """Start, watch, and start anew, for ever. A first start that fails ends it, where `first` is told of that."""
        loop = asyncio.get_running_loop()
        patience_ends = loop.time() + self._settings.startup_timeout_s
        pause_s = _TICK_S
        while True:
            started_s = loop.time()
            try:
                connection = await self._start()
                _log.info("model %s is ready after %.1f s", self.model.name, loop.time() - started_s)
                pause_s, self._reported = 0.0, ""
                if first is not None and not first.done():
                    first.set_result(None)
                await self._watch(connection)
            except Exception as error:
                if not isinstance(error, _EXPECTED):
                    _log.exception("the supervisor of Triton met an error that it doesn't know")
                reason = str(error) if isinstance(error, StartupError) else f"{error}{self._host.last_words()}"
                self._set_down(reason)
                await self._end_host()
                hopeless = not isinstance(error, Unreachable | TimedOut) or loop.time() > patience_ends
                if first is not None and not first.done() and hopeless:
                    first.set_exception(StartupError(self._explain(error, reason)))
                    return
                self._report(reason)
                await asyncio.sleep(pause_s)
                pause_s = min(max(2 * pause_s, _TICK_S), self._longest_pause_s)

    async def _start(self) -> Connection:
        """Start the host and return a connection over which the model was proven."""
        self._connection = Connection(await self._host.start(), self._settings.transport)
        await self._prove(self._connection)
        return self._connection

    async def _prove(self, connection: Connection) -> None:
        """Let callers in once the model is the right one and gives its known answer."""
        timeout_s = self._settings.request_timeout_s
        model = await self._host.describe(connection, timeout_s=timeout_s)
        self._refuse_another(model)
        self._model, self._check = model, HealthCheck(model)
        await self._guard(self._check.verify(connection, timeout_s=timeout_s))
        self._doubt.clear()
        self._state = State.READY
        self._down_since_s = None
        self._news.set()

    def _refuse_another(self, model: ServedModel) -> None:
        """Raise StartupError where the model's vectors wouldn't compare with those made so far."""
        model.check_fingerprint(self._expected_fingerprint)
        model.check_same(self._model)

    async def _watch(self, connection: Connection) -> None:
        """Return never: raise what makes a new start necessary."""
        loop = asyncio.get_running_loop()
        next_probe_s = loop.time() + self._probe_period_s
        lost = asyncio.create_task(self._heed_losses(connection))
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_S):
                        await self._doubt.wait()
                if fault := self._host.fault():
                    raise _Fault(fault)
                if self._doubt.is_set():
                    await self._prove(connection)
                elif loop.time() >= next_probe_s:
                    # Also while requests go well: a Triton elsewhere may have been given another model of this name.
                    begun_s = loop.time()
                    await self._guard(self._probe(connection))
                    period_s = max((loop.time() - begun_s) / self._probe_share, self._probe_period_s)
                    next_probe_s = loop.time() + min(period_s, _LONGEST_PROBE_PERIOD_S)
        finally:
            lost.cancel()

    async def _heed_losses(self, connection: Connection) -> None:
        """Doubt the model as soon as its connection is lost, again and again.

        The channel connects anew by itself, perhaps to a Triton that was given another model meanwhile. What it answers
        comes later than the news of the loss, so whoever looks at `losses` then knows.
        """
        while True:
            await connection.disconnected()
            self._losses += 1
            self.doubt(connection, "the connection was lost")

    async def _probe(self, connection: Connection) -> None:
        """Return where the model is still the same, and answers the first known picture right."""
        timeout_s = self._settings.request_timeout_s
        self._refuse_another(await self._host.describe(connection, timeout_s=timeout_s))
        if self._check is not None:
            await self._check.probe(connection, timeout_s=timeout_s)

    async def _guard(self, check: Coroutine[None, None, None]) -> None:
        """Return when `check` has passed; raise what it raises.

        Raises:
            _Fault: at once where a process of the host is dead or stopped, and where all of them sleep while the check
                waits. On a starved machine a request may take long, but then some thread of theirs runs or waits for a
                processor at almost every look: such a host works, and is left alone.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(check)
        asleep = awake = 0
        try:
            while True:
                looked_s = loop.time()
                await asyncio.wait({task}, timeout=_TICK_S)
                if fault := self._host.fault():
                    raise _Fault(fault)
                if task.done():
                    return task.result()
                if loop.time() - looked_s > 2 * _TICK_S:
                    continue  # this process itself was starved: the reply may lie here unread
                if self._host.asleep():
                    asleep += 1
                else:
                    awake += 1
                if asleep >= _ASLEEP_TICKS and asleep >= _ASLEEP_SHARE * (asleep + awake):
                    raise _Fault("it hangs: a request waits, and none of its threads runs")
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _report(self, reason: str) -> None:
        """Log why Triton is down: in full when it is news, in a line a minute while it stays the same."""
        now_s = asyncio.get_running_loop().time()
        headline = reason.partition("\n")[0]
        if headline != self._reported:
            _log.warning("Triton is down, and is started or reached for anew: %s", reason)
        elif now_s >= self._report_again_s:
            _log.warning("Triton is still down, for the same reason: %s", headline)
        else:
            return
        self._reported, self._report_again_s = headline, now_s + _REPORT_PERIOD_S

    async def _end_host(self) -> None:
        try:
            await self._disconnect()
            await self._host.stop()
        except Exception:
            # Supervision must go on: what is left of the host shows at its next start.
            _log.exception("Triton could not be ended cleanly")

    def _explain(self, error: Exception, reason: str) -> str:
        if isinstance(error, Unreachable | TimedOut):
            return (
                f"Triton could not be reached within triton.startup_timeout_s = {self._settings.startup_timeout_s:g} s "
                f"({reason}): start it, or correct triton.url = {self._settings.url}"
            )
        return reason

    def _set_down(self, reason: str) -> None:
        if self._down_since_s is None:
            self._down_since_s = asyncio.get_running_loop().time()
        self._state = State.DOWN
        self._reason = reason
        self._news.clear()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _unavailable(self) -> EmbedderUnavailable:
        # The log's last lines are the operator's, not the caller's.
        reason = self._reason.partition("\n")[0].removesuffix("; Triton's last lines:")
        return EmbedderUnavailable(f"the model is not ready ({reason}): try again in a moment", RETRY_AFTER_S)
