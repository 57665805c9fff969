"""Long work by name: which runs, how far it is, what came of it.

Everything here happens on one event loop; the work itself brings its own threads.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import math
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from twinset_server import limits
from twinset_server.errors import FailedPrecondition, InvalidRequest, OperationNotFound, OperationRunning, TwinsetError
from twinset_server.maintenance import Maintenance, Models, Report, Work

_log = logging.getLogger(__name__)

Kind = Literal["backup", "restore", "check", "compact", "rebuild", "activate", "rollback", "reembed"]

KEPT = 100
"""Finished operations that are remembered, at most."""

KEPT_FOR = datetime.timedelta(hours=24)

_ALONE = frozenset({"restore", "compact"})
"""What neither runs beside anything else, nor anything beside it."""

_SWITCHES = frozenset({"activate", "rollback", "reembed"})
"""Of these, one runs at a time."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class Defect(Exception):
    """A work failed in a way that nobody foresaw; the log tells more under `request_id`."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the log names {request_id}")
        self.request_id = request_id


@dataclass(slots=True, eq=False)
class Operation:
    """One operation. `outcome` is None while it runs, then the report or the error; times are in UTC."""

    name: str
    kind: Kind
    started: datetime.datetime
    work: Work = field(default_factory=Work)
    ended: datetime.datetime | None = None
    outcome: Report | TwinsetError | Defect | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)


class Operations:
    """Starts work on one folder and remembers it."""

    def __init__(
        self,
        maintenance: Maintenance,
        models: Models | None = None,
        *,
        now: Callable[[], datetime.datetime] | None = None,
    ) -> None:
        """Work through `maintenance` and `models`; these are None where no server holds the folder."""
        self._maintenance = maintenance
        self._models = models
        self._now = now or (lambda: datetime.datetime.now(datetime.UTC))
        self._operations: OrderedDict[str, Operation] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0

    def backup(self, folder: str, name: str) -> Operation:
        """Start a backup to a new folder in `folder`, named by time where `name` is empty.

        Raises:
            InvalidRequest: the folder isn't absolute, or the name malformed.
            OperationRunning: something runs that excludes it.
        """
        into = _absolute("folder", folder)
        if name and not _NAME.fullmatch(name):
            raise InvalidRequest("name", f"{name!r} is no name: letters, digits, '-', '_' and '.', the first no '.'")
        chosen = name or f"twinset-{self._now():%Y%m%dT%H%M%S.%fZ}"
        return self._start("backup", lambda work: self._maintenance.backup(into, chosen, work))

    def restore(self, path: str) -> Operation:
        """Start a restore of the backup at `path`.

        Raises:
            InvalidRequest: the path isn't absolute.
            OperationRunning: something runs.
        """
        backup = _absolute("path", path)
        return self._start("restore", lambda work: self._maintenance.restore(backup, work))

    def check(self) -> Operation:
        """Start a check.

        Raises:
            OperationRunning: something runs that excludes it.
        """
        return self._start("check", self._maintenance.check)

    def compact(self) -> Operation:
        """Start a compaction.

        Raises:
            OperationRunning: something runs.
        """
        return self._start("compact", self._maintenance.compact)

    def rebuild(self, space: str) -> Operation:
        """Start a rebuild of a space, or of all where `space` is empty.

        Raises:
            InvalidRequest: the name is longer than names of spaces are.
            OperationRunning: something runs that excludes it.
        """
        limits.check_space("space", space)
        return self._start("rebuild", lambda work: self._maintenance.rebuild(space, work))

    @property
    def models(self) -> Models:
        """What lets models serve.

        Raises:
            FailedPrecondition: no server holds the folder.
        """
        if self._models is None:
            raise FailedPrecondition(
                "server", "no server holds this catalogue, and models are switched by one: start `twinset-server serve`"
            )
        return self._models

    def activate(self, model: str, *, drop: bool) -> Operation:
        """Start to let a model serve whose vectors are there.

        Raises:
            InvalidRequest: no model is named.
            FailedPrecondition: no server holds the folder.
            OperationRunning: something runs that excludes it.
        """
        name, models = _named(model), self.models
        return self._start("activate", lambda work: models.activate(name, work, drop=drop))

    def rollback(self, *, drop: bool) -> Operation:
        """Start to let the model serve that did before; raises like `activate`."""
        models = self.models
        return self._start("rollback", lambda work: models.rollback(work, drop=drop))

    def reembed(self, model: str, *, drop: bool, max_per_second: float) -> Operation:
        """Start a re-embedding; raises like `activate`, InvalidRequest also where the bound is none."""
        name, models = _named(model), self.models
        if not 0 <= max_per_second < math.inf:
            raise InvalidRequest(
                "max_pictures_per_second", f"is {max_per_second}: give a number above 0, or 0 for no bound"
            )
        return self._start("reembed", lambda work: models.reembed(name, work, drop=drop, max_per_second=max_per_second))

    def get(self, name: str) -> Operation:
        """Return the operation.

        Raises:
            InvalidRequest: the name is longer than names of operations are.
            OperationNotFound: there is none of this name, or no longer.
        """
        limits.check_text("name", name, limits.MAX_OPERATION_BYTES)
        self._forget_old()
        found = self._operations.get(name)
        if found is None:
            raise OperationNotFound(name)
        return found

    def all(self) -> Sequence[Operation]:
        """Return all operations, in the order of their starts."""
        self._forget_old()
        return tuple(self._operations.values())

    async def wait(self, name: str, timeout_s: float) -> Operation:
        """Return the operation once it has ended, or as it is after `timeout_s`; see `get`."""
        found = self.get(name)
        try:
            async with asyncio.timeout(timeout_s):
                await found.finished.wait()
        except TimeoutError:
            pass
        return found

    def cancel(self, name: str) -> Operation:
        """Ask the operation to end, and return it; one that has ended stays as it is. See `get`."""
        found = self.get(name)
        found.work.cancel()
        return found

    async def close(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        for operation in self._operations.values():
            operation.work.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, kind: Kind, run: Callable[[Work], Coroutine[Any, Any, Report]]) -> Operation:
        for other in self._operations.values():
            if other.outcome is None and (_exclude(kind, other.kind)):
                raise OperationRunning(
                    other.name, f"{other.name} runs since {other.started:%H:%M:%S} UTC: wait for its end, or cancel it"
                )
        self._forget_old()
        self._last += 1
        operation = Operation(f"operations/{kind}-{self._last:06d}", kind, self._now())
        self._operations[operation.name] = operation
        task = asyncio.create_task(self._run(operation, run(operation.work)), name=operation.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return operation

    async def _run(self, operation: Operation, work: Coroutine[Any, Any, Report]) -> None:
        _log.info("%s begins", operation.name)
        try:
            operation.outcome = await work
            _log.info("%s is done", operation.name)
        except TwinsetError as error:
            operation.outcome = error
            _log.warning("%s ended: %s", operation.name, error.message)
        except Exception:
            operation.outcome = Defect(secrets.token_hex(8))
            _log.exception("%s failed, request %s", operation.name, operation.outcome.request_id)
        operation.ended = self._now()
        operation.finished.set()

    def _forget_old(self) -> None:
        ended = [one for one in self._operations.values() if one.ended is not None]
        expired = self._now() - KEPT_FOR
        for place, operation in enumerate(ended):
            if place < len(ended) - KEPT or (operation.ended is not None and operation.ended < expired):
                del self._operations[operation.name]


def _exclude(one: Kind, other: Kind) -> bool:
    kinds = {one, other}
    return one == other or bool(kinds & _ALONE) or kinds <= _SWITCHES


def _named(model: str) -> str:
    if not model:
        raise InvalidRequest("model", "is empty: name a model that ListModels lists, or its fingerprint")
    limits.check_text("model", model, limits.MAX_ID_BYTES)
    return model


def _absolute(field_name: str, path: str) -> Path:
    limits.check_text(field_name, path, limits.MAX_PATH_BYTES)
    if not path.startswith("/") or "\0" in path:
        raise InvalidRequest(field_name, f"{path!r} is no absolute path: give one on the server's machine")
    return Path(path)
