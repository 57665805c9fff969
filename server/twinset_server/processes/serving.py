"""A whole server: what its supervisor holds for all, and the children that do the work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from twinset_server.admin import AdminServer
from twinset_server.catalog import Folder
from twinset_server.catalog.lineage import StoredModels
from twinset_server.config import Settings
from twinset_server.domain import VISUAL, ModelState, Space
from twinset_server.errors import EmbedderUnavailable, ModelUnfit, SpaceConflict, StartupError, TwinsetError
from twinset_server.lineage.switching import ModelSwitches, spaces_of
from twinset_server.processes.keeper import keeping
from twinset_server.processes.models import TritonModels
from twinset_server.processes.order import Order, share, worker_count
from twinset_server.processes.reservation import check_free, reserved
from twinset_server.processes.scrape import ScrapePort
from twinset_server.processes.served_folder import ServedFolder
from twinset_server.processes.supervisor import Programs, Supervisor
from twinset_server.rpc.admin import forget_address
from twinset_server.rpc.interceptor import Place
from twinset_server.rpc.listening import check_exposure
from twinset_server.rpc.probes import Probes

_log = logging.getLogger(__name__)

DEFAULT_PROGRAMS = Programs()


@asynccontextmanager
async def serving(settings: Settings, programs: Programs = DEFAULT_PROGRAMS) -> AsyncIterator[Supervisor]:
    """Serve while the context is open.

    Raises:
        StartupError: a part can't start; the message says what to do.
    """
    workers = worker_count(settings.server)
    async with AsyncExitStack() as stack:
        check_exposure(settings.server.host, "server.host", settings.tls, settings.access)
        check_exposure(settings.admin.host, "admin.host", settings.tls, settings.access)
        port = stack.enter_context(reserved(settings.server))
        check_free(settings.admin)
        scrapes = ScrapePort(settings.metrics)
        stack.callback(scrapes.stop)
        probes = Probes(settings.probes)
        stack.push_async_callback(probes.stop)
        await probes.start()
        keeper = stack.enter_context(keeping(settings))
        forget_address(settings.store.path)
        spaces = await keeper.spaces()
        store = StoredModels(Folder(settings.store.path))
        shared = share(settings, workers)

        def order(worker: int) -> Order:
            server = shared.server.model_copy(update={"port": port})
            triton = shared.triton.model_copy(update={"url": models.address or shared.triton.url})
            mine = shared.model_copy(update={"server": server, "triton": triton})
            return Order(mine, Place(worker, workers), model_is_ready=models.is_ready)

        async def check() -> None:
            restored = (await keeper.spaces()).get(VISUAL)
            if restored is not None and restored.model is not None:
                await _loaded(models, restored, spaces.get(VISUAL))

        supervisor = Supervisor(port, workers, order, drain_s=settings.server.drain_s, programs=programs, check=check)
        models = TritonModels(settings, workers, supervisor.reached, keeper.kept_factors)
        scrapes.start(lambda: supervisor.status)
        # Before Triton, since they load their modules meanwhile; a start that fails must end them too.
        stack.push_async_callback(supervisor.stop)
        await supervisor.launch()
        contract = await stack.enter_async_context(models.opened(spaces.get(VISUAL), await store.ever()))
        if contract is not None:
            if contract.space(VISUAL) is None:
                raise StartupError(f"the model {contract.model} fills no space {VISUAL!r}: choose another with --model")
            await keeper.declare(spaces_of(contract))
        switches = ModelSwitches(store, models)
        # Calls in flight may still need the model.
        stack.push_async_callback(supervisor.stop)
        await supervisor.begin()
        keeping_up = asyncio.create_task(_kept_up(switches, store, models), name="models")
        stack.callback(keeping_up.cancel)
        admin = AdminServer(
            settings.admin,
            ServedFolder(settings.store.path, supervisor, switches),
            switches,
            tls=settings.tls,
            access=settings.access,
        )
        # Before the children end: what it does needs them.
        stack.push_async_callback(admin.stop)
        await admin.start()
        stack.push_async_callback(probes.leave, settings.server.pause_s)
        await probes.started(lambda: supervisor.answers)
        yield supervisor


async def _kept_up(switches: ModelSwitches, store: StoredModels, models: TritonModels) -> None:
    """Load the models that may serve next, then see to it that they know of all changes."""
    for one in await store.generations():
        if one.state is not ModelState.ACTIVE:
            try:
                await models.load(one.model)
            except TwinsetError as error:
                _log.warning("%s can't serve as it is: %s", one.model, error.message)
    await switches.keep()


async def _loaded(models: TritonModels, visual: Space, started: Space | None) -> None:
    """Have Triton serve the model of a catalogue that was restored; a Triton that is away may come back.

    Raises:
        SpaceConflict: it can't.
    """
    name = visual.model or ""
    try:
        await models.load(name)
    except EmbedderUnavailable as error:
        _log.warning("%s isn't reached so far: %s", name, error.message)
    except ModelUnfit as error:
        raise SpaceConflict(
            f"the catalogue's vectors are of {visual.fingerprint}, whose model {name} can't serve here, where it was "
            f"started with {started.fingerprint if started else 'none'}: {error.message}"
        ) from error
