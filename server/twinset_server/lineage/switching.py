"""How another model comes to serve: found, checked, its vectors made where they lack, then switched as one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from twinset.contract import FP32, ModelContract
from twinset_server.domain import VISUAL, ModelGeneration, ModelState, Space
from twinset_server.errors import (
    ModelNotFilled,
    ModelNotFound,
    ModelUnfit,
    NoFormerModel,
    OperationCancelled,
    TwinsetError,
    VectorsLost,
)
from twinset_server.lineage.filling import BATCH, Filling
from twinset_server.lineage.seams import ModelHost, ModelStore
from twinset_server.maintenance import ModelStatus, SwitchReport, Work

LAST = 2 * BATCH
"""So many items are made while writes wait."""

_ROUNDS = 50
"""Writes that come faster than vectors are made for that long wait for the rest in the end."""

_DIGITS = 8
"""The least digits of a fingerprint that name a model."""

_LOOK_EVERY_S = 0.5
_PAUSE_AFTER_DEFECT_S = 10.0
_CANCELLED_WITHIN_S = 0.2

T = TypeVar("T")

_log = logging.getLogger(__name__)


def spaces_of(contract: ModelContract) -> list[Space]:
    """Return the spaces that a model fills, each with the fingerprint of its own output."""
    return [
        Space(one.name, one.dimension, one.metric, contract.fingerprint_of(one.output), contract.model)
        for one in contract.spaces
    ]


class ModelSwitches:
    """Implements the port `Models`."""

    def __init__(self, store: ModelStore, host: ModelHost) -> None:
        self._store = store
        self._host = host
        self._one = asyncio.Lock()

    async def list(self) -> Sequence[ModelStatus]:
        """Return the models; see the port."""
        repository = await self._host.repository()
        generations = await self._store.generations()
        known = [
            ModelStatus(
                one.model,
                one.state,
                one.fingerprints,
                repository.contracts.get(one.model),
                _lacking(one.fingerprints, generations) if one.state is ModelState.FILLING else (),
                one.pending,
                "" if one.model in repository.contracts else "the repository holds it no more",
            )
            for one in generations
        ]
        rest = sorted(repository.contracts.keys() - {one.model for one in generations})
        found = {name: repository.contracts[name] for name in rest}
        fingerprints = {name: _fingerprints(contract) for name, contract in found.items()}
        known += [
            ModelStatus(name, None, fingerprints[name], contract, _lacking(fingerprints[name], generations))
            for name, contract in found.items()
        ]
        return [*known, *(ModelStatus("", problem=problem) for problem in repository.problems)]

    async def activate(self, model: str, work: Work, *, drop: bool) -> SwitchReport:
        """Let a model serve whose vectors are there; see the port."""
        async with self._one:
            contract = await self._found(model)
            generations = await self._store.generations()
            if lacking := _lacking(_fingerprints(contract), generations):
                raise _not_filled(contract, lacking[0], generations)
            return await self._served(contract, work, drop=drop)

    async def rollback(self, work: Work, *, drop: bool) -> SwitchReport:
        """Let the model serve that did before; see the port."""
        async with self._one:
            kept = [one for one in await self._store.generations() if one.state is ModelState.KEPT]
            if not kept:
                raise NoFormerModel(
                    "former", "no model that served before the active one is kept: ListModels names all"
                )
            return await self._served(await self._found(kept[0].model), work, drop=drop)

    async def reembed(self, model: str, work: Work, *, drop: bool, max_per_second: float) -> SwitchReport:
        """Let a model serve, with the vectors of all pictures made first; see the port."""
        async with self._one:
            contract = await self._found(model)
            return await self._served(contract, work, drop=drop, max_per_second=max_per_second)

    async def keep(self) -> None:
        """Make, for as long as this isn't cancelled, the model that served before know what has changed since.

        So it can serve again at once. What fails is logged, and tried again.
        """
        failure = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                async with self._one:
                    await self._keep_up()
                failure = ""
            except TwinsetError as error:
                if error.message != failure:
                    failure = error.message
                    _log.warning("the model that served before falls behind: %s", error)
            except Exception:
                # The way back must not end with one defect.
                _log.exception("the model that served before could not be kept up to date")
                await asyncio.sleep(_PAUSE_AFTER_DEFECT_S)

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Leave the catalogue alone while the context is open."""
        async with self._one:
            yield

    async def _found(self, model: str) -> ModelContract:
        contracts = (await self._host.repository()).contracts
        found = [contracts[model]] if model in contracts else _called(model, contracts)
        if len(found) != 1:
            several = f"{len(found)} models are meant by {model!r}" if found else f"there is no model {model!r}"
            named = ", ".join(one.model for one in found) or ", ".join(sorted(contracts)) or "none"
            raise ModelNotFound(model, f"{several}: name one of {named}")
        [contract] = found
        if contract.space(VISUAL) is None:
            raise ModelUnfit(contract.model, f"{contract.model} fills no space {VISUAL!r}: choose another")
        _check_gate(contract)
        self._host.check(contract)
        return contract

    async def _served(
        self, contract: ModelContract, work: Work, *, drop: bool, max_per_second: float = 0.0
    ) -> SwitchReport:
        work.stage("loading the model")
        try:
            async with contextlib.AsyncExitStack() as stack:
                # Before the store names it, so that workers find it.
                running = self._host.embedding(contract.model)
                pictures = await _unless_cancelled(work, stack.enter_async_context(running))
                generation = await self._store.begin(contract.model, spaces_of(contract))
                gone = await self._store.lost(generation.number)
                if gone and not drop:
                    raise VectorsLost(contract.model, gone.item_ids, gone.items, gone.users)
                await self._store.tidy(generation.number)
                spaces = await self._store.to_fill(generation.number)
                filling = Filling(self._store, generation.number, spaces, pictures)
                await self._filled(generation.number, filling, work, max_per_second)
                work.stage("waiting until all workers reach the model")
                await _unless_cancelled(work, self._host.reached(contract.model))
                work.stage("waiting for feeds to end")
                await _unless_cancelled(work, stack.enter_async_context(self._store.without_feeds()))
                work.stage("switching")
                switched = await self._store.switch(generation.number, filling.recomputed, drop=drop)
        except OperationCancelled as error:
            raise OperationCancelled(
                f"cancelled: what serves does still, and what was made for {contract.model} is kept to go on with"
            ) from error
        if switched.former != contract.model:
            _log.info("%s serves in the place of %s", contract.model, switched.former)
        await self._store.tidy()
        return SwitchReport(switched, filling.items, filling.pictures)

    async def _filled(self, number: int, filling: Filling, work: Work, max_per_second: float) -> None:
        """Return when so few items are pending that writes may wait for them."""
        pending = await self._pending(number)
        work.stage("embedding", "items", pending)
        if pending > LAST:
            await filling.run(work, most=pending, max_per_second=max_per_second)
        for _ in range(_ROUNDS):
            if (pending := await self._pending(number)) <= LAST:
                return
            work.stage("embedding what changed meanwhile", "items", pending)
            await filling.run(work, most=pending)

    async def _pending(self, number: int) -> int:
        return next((one.pending for one in await self._store.generations() if one.number == number), 0)

    async def _keep_up(self) -> None:
        kept = [one for one in await self._store.generations() if one.state is ModelState.KEPT and one.pending]
        for one in kept:
            async with self._host.embedding(one.model) as pictures:
                filling = Filling(self._store, one.number, await self._store.to_fill(one.number), pictures)
                await filling.run(Work(), most=one.pending)


async def _unless_cancelled(work: Work, wait: Coroutine[Any, Any, T]) -> T:
    """Return what a wait gives.

    Raises:
        OperationCancelled: `work` was cancelled meanwhile.
    """
    task = asyncio.create_task(wait)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_CANCELLED_WITHIN_S)
            work.check()
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def _called(word: str, contracts: Mapping[str, ModelContract]) -> Sequence[ModelContract]:
    """Return the models of a name without its digits, or of a fingerprint or its first digits."""
    return [
        contract
        for _, contract in sorted(contracts.items())
        if word == (contract.name or contract.backbone)
        or (len(word) >= _DIGITS and contract.fingerprint.startswith(word))
    ]


def _fingerprints(contract: ModelContract) -> dict[str, str]:
    return {space.name: space.fingerprint for space in spaces_of(contract)}


def _lacking(fingerprints: Mapping[str, str], generations: Sequence[ModelGeneration]) -> Sequence[str]:
    """Return the spaces whose vectors the catalogue lacks: neither what serves nor one generation kept has all."""
    complete = [one for one in generations if one.state is not ModelState.FILLING]
    if any(one.fingerprints == fingerprints for one in complete):
        return ()
    active = next((one.fingerprints for one in complete if one.state is ModelState.ACTIVE), {})
    return sorted(name for name, fingerprint in fingerprints.items() if active.get(name) != fingerprint)


def _not_filled(contract: ModelContract, space: str, generations: Sequence[ModelGeneration]) -> ModelNotFilled:
    given = _fingerprints(contract)[space]
    held = next((one.fingerprints.get(space) for one in generations if one.state is ModelState.ACTIVE), None)
    return ModelNotFilled(
        contract.model,
        f"{contract.model} fills {space!r} with vectors of {given}, and the catalogue holds {held or 'none'}: let it "
        "embed all pictures first, with Reembed (twinset-server reembed)",
    )


def _check_gate(contract: ModelContract) -> None:
    """Let a model through that may serve its fingerprint: one at full precision, or whose gate says so.

    Raises:
        ModelUnfit: it may not.
    """
    gate = contract.gate
    if contract.precision == FP32 or (gate is not None and gate.serves_reference):
        return
    if gate is None or gate.reference_fingerprint == contract.fingerprint:
        raise ModelUnfit(
            contract.model,
            f"{contract.model} is of precision {contract.precision} and shows no gate that lets it serve "
            f"{contract.fingerprint}: prove and export it again with twinset-exporter",
        )
