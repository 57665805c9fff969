"""A whole server: what its supervisor holds for all, and the children that do the work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from twinset.contract import ModelContract
from twinset_server.admin import AdminServer
from twinset_server.config import Settings
from twinset_server.domain import VISUAL, Space
from twinset_server.errors import NoClasses, StartupError
from twinset_server.predictions import classes_of
from twinset_server.processes.keeper import keeping
from twinset_server.processes.order import Order, share, worker_count
from twinset_server.processes.reservation import check_free, reserved
from twinset_server.processes.scrape import ScrapePort
from twinset_server.processes.served_folder import ServedFolder
from twinset_server.processes.supervisor import Programs, Supervisor
from twinset_server.rpc.admin import forget_address
from twinset_server.rpc.interceptor import Place
from twinset_server.rpc.listening import check_exposure
from twinset_server.rpc.probes import Probes
from twinset_server.triton import TritonEmbedder, open_embedder
from twinset_server.triton.ranking_models import KeptFactors, keeping_loaded
from twinset_server.triton.supervisor import State

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
        model = _Model(settings, workers, keeper.kept_factors)
        shared = share(settings, workers)
        filled: list[Space] = []

        async def check() -> None:
            await keeper.spaces()
            await keeper.declare(filled)

        def order(worker: int) -> Order:
            server = shared.server.model_copy(update={"port": port})
            triton = shared.triton.model_copy(update=model.settings)
            mine = shared.model_copy(update={"server": server, "triton": triton})
            return Order(mine, Place(worker, workers), model_is_ready=model.is_ready)

        supervisor = Supervisor(port, workers, order, drain_s=settings.server.drain_s, programs=programs, check=check)
        scrapes.start(lambda: supervisor.status)
        # Before Triton, since they load their modules meanwhile; a start that fails must end them too.
        stack.push_async_callback(supervisor.stop)
        await supervisor.launch()
        contract = await stack.enter_async_context(model.opened(spaces.get(VISUAL)))
        _check_classes(settings.catalog.fill_category, contract or model.contract)
        if contract is not None:
            filled += _filled_by(contract)
            await keeper.declare(filled)
        # Calls in flight may still need the model.
        stack.push_async_callback(supervisor.stop)
        await supervisor.begin()
        admin = AdminServer(
            settings.admin,
            ServedFolder(settings.store.path, supervisor),
            tls=settings.tls,
            access=settings.access,
        )
        # Before the children end: what it does needs them.
        stack.push_async_callback(admin.stop)
        await admin.start()
        stack.push_async_callback(probes.leave, settings.server.pause_s)
        await probes.started(lambda: supervisor.answers)
        yield supervisor


class _Model:
    """The one Triton that all workers ask: the embedded one, which lives in this process, or one elsewhere."""

    def __init__(self, settings: Settings, workers: int, kept_factors: KeptFactors) -> None:
        self._triton = settings.triton
        self._kept_factors = kept_factors
        self._sharers = workers + 1
        self._embedder: TritonEmbedder | None = None
        self._proven = False

    @property
    def settings(self) -> dict[str, object]:
        """What a worker's settings of Triton must say."""
        if self._embedder is None or self._triton.url is not None:
            return {}
        return {"url": self._embedder.address, "model": self._embedder.contract.model}

    @property
    def contract(self) -> ModelContract | None:
        """What the embedded model promises; None where the model is elsewhere."""
        return None if self._embedder is None else self._embedder.contract

    @property
    def is_ready(self) -> bool:
        """Whether the model was well when this process last looked."""
        return self._proven if self._embedder is None else self._embedder.state is State.READY

    @asynccontextmanager
    async def opened(self, visual: Space | None) -> AsyncIterator[ModelContract | None]:
        """Run the embedded Triton while the context is open; give the contract of a model that the catalogue is new to.

        Another model may stand in where it fills `visual` alike, and may fill more spaces than the one before. A filled
        catalogue serves without its own model what needs no embedding, so that is not waited for.
        """
        is_new = visual is None or self._triton.model not in (None, visual.model)
        if self._triton.url is not None and not is_new:
            yield None
            return
        async with AsyncExitStack() as stack:
            embedder = await stack.enter_async_context(
                open_embedder(
                    self._triton,
                    expected_model=visual.model if visual else None,
                    expected_fingerprint=visual.fingerprint if visual else None,
                    wait=is_new,
                    sharers=self._sharers,
                )
            )
            if self._triton.url is None:
                self._embedder = embedder
                loaded = keeping_loaded(embedder.supervisor, self._triton, self._kept_factors)
                await stack.enter_async_context(loaded)
                yield embedder.contract if is_new else None
                return
            contract = embedder.contract
            self._proven = True
            # A Triton elsewhere is the workers' own to watch.
            await stack.aclose()
            yield contract


def _check_classes(fill_category: str | None, contract: ModelContract | None) -> None:
    """Let a setting through that names an output with classes; a model that isn't known yet is told at the first put.

    Raises:
        StartupError: the model has no such output.
    """
    if fill_category is None or contract is None:
        return
    try:
        classes_of(contract, fill_category)
    except NoClasses as error:
        raise StartupError(f"{error.message}; choose another with --fill-category, or leave it out") from error


def _filled_by(contract: ModelContract) -> list[Space]:
    """Return the spaces that the model fills, each with the fingerprint of its own output."""
    if contract.space(VISUAL) is None:
        raise StartupError(f"the model {contract.model} fills no space {VISUAL!r}: choose another with --model")
    return [
        Space(filled.name, filled.dimension, filled.metric, contract.fingerprint_of(filled.output), contract.model)
        for filled in contract.spaces
    ]
