"""Embeds pictures with a model on Triton: the server's one way to vectors of pictures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence

import numpy as np

from twinset.contract import ModelContract
from twinset.known_answer import UNKNOWN_CATEGORY
from twinset_server.config import TritonSettings
from twinset_server.domain import Float32Array, Int32Array, UInt8Array
from twinset_server.errors import DeadlineExceeded, EmbedderUnavailable, StartupError
from twinset_server.triton.codec import BadReply
from twinset_server.triton.connection import Connection
from twinset_server.triton.embedded import EmbeddedTriton
from twinset_server.triton.host import Host
from twinset_server.triton.interactions import TritonInteractions
from twinset_server.triton.remote import RemoteTriton
from twinset_server.triton.served_model import ServedModel, list_models, whole
from twinset_server.triton.supervisor import RETRY_AFTER_S, State, Supervisor
from twinset_server.triton.transport import TimedOut, TransportError, Unreachable

_LONGEST_WAIT_S = 5.0
"""How long a Triton that restarts is waited for: a call waits what is left of this, and later ones fail at once."""


class TritonEmbedder:
    """Runs one model on Triton; see `ports.Embedder`.

    Pictures go in requests of at most `max_batch`, with `max_in_flight` of them under way over all calls.
    `interactions` asks the same Triton to rank.
    """

    def __init__(self, supervisor: Supervisor, settings: TritonSettings) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._in_flight = asyncio.Semaphore(settings.max_in_flight)
        self.interactions = TritonInteractions(supervisor, settings)

    @property
    def supervisor(self) -> Supervisor:
        """What keeps Triton serving."""
        return self._supervisor

    @property
    def contract(self) -> ModelContract:
        """What the model promises.

        Raises:
            EmbedderUnavailable: Triton runs elsewhere and hasn't been reached so far.
        """
        return self._supervisor.model.contract

    @property
    def outputs(self) -> Mapping[str, int]:
        """The model's outputs by name, each with its dimension; raises like `contract`."""
        return self._supervisor.model.outputs

    @property
    def address(self) -> str:
        """Where Triton listens, or will: `host:port`, the same for as long as this is open."""
        return self._supervisor.address

    @property
    def state(self) -> State:
        """How the model is now."""
        return self._supervisor.state

    @property
    def is_well(self) -> bool:
        """Whether the model has given its known answer, and nothing has spoken against it since."""
        return self._supervisor.state is State.READY

    async def ready(self, *, timeout_s: float) -> None:
        """Return when the model has given its known answer, waiting up to `timeout_s` for that.

        Raises:
            EmbedderUnavailable: it hasn't by then.
        """
        await self._supervisor.ready(timeout_s=timeout_s)

    async def load(self, name: str) -> None:
        """Have Triton serve one more model, for another embedder.

        Raises:
            StartupError: it can't be loaded, or isn't what was published.
            EmbedderUnavailable: Triton is away.
        """
        await self._supervisor.ready(timeout_s=_LONGEST_WAIT_S)
        try:
            await self._supervisor.load(name)
        except TransportError as error:
            raise EmbedderUnavailable(f"Triton didn't load {name} ({error}): try again", RETRY_AFTER_S) from error

    async def embed(
        self,
        pictures: UInt8Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        categories: Int32Array | None = None,
    ) -> Mapping[str, Float32Array]:
        """Return the outputs named, one row per picture.

        Args:
            pictures: `[N, H, W, 3]` uint8 RGB, N at least 1 and of any size; H and W from the contract's pipeline.
            outputs: names among `self.outputs`.
            timeout_s: time left of the caller's deadline.
            categories: `[N]` int32, those of the pictures; None means that all are unknown.
        Returns:
            Per output `[N, D]` float32, finite; unit rows where the output fills a cosine space.
        Raises:
            EmbedderUnavailable: Triton is unreachable, or the model is not healthy. It was asked twice by then.
            DeadlineExceeded: `timeout_s` passed.
            ValueError: the pictures have another shape or type, a category is out of range, or an output doesn't exist:
                a defect of the caller.
        """
        model = self._supervisor.model
        if categories is None:
            categories = np.full(len(pictures), UNKNOWN_CATEGORY, np.int32)
        _check_arguments(model, pictures, categories, outputs)
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        size = min(self._settings.max_batch, model.max_batch_size)
        starts = range(0, len(pictures), size)
        unasked = iter(starts)
        parts: dict[int, dict[str, Float32Array]] = {}

        async def work() -> None:
            # Each worker takes the next part when it is free: a long call holds max_in_flight places in the queue
            # for Triton, not one for each of its parts, and a short call beside it needn't wait for all of them.
            for start in unasked:
                part = slice(start, start + size)
                parts[start] = await self._embed_part(model, pictures[part], categories[part], outputs, deadline_s)

        workers = min(self._settings.max_in_flight, len(starts))
        if workers == 1:
            await work()
        else:
            await _run_all(work() for _ in range(workers))
        return {name: np.concatenate([parts[start][name] for start in starts]) for name in outputs}

    async def _embed_part(
        self,
        model: ServedModel,
        pictures: UInt8Array,
        categories: Int32Array,
        outputs: Sequence[str],
        deadline_s: float,
    ) -> dict[str, Float32Array]:
        """Return the rows of one request, asking again once: an embedding has no side effects."""
        failures: list[Exception] = []
        while len(failures) < 2:
            # Waiting for a Triton that restarts takes no place from others.
            patience_s = max(0.0, _LONGEST_WAIT_S - self._supervisor.down_for_s)
            await self._supervisor.ready(timeout_s=min(_left(deadline_s), patience_s))
            async with self._place(deadline_s):
                connection = self._supervisor.connection
                if connection is None:
                    continue  # it went down while this request stood in the queue
                try:
                    return await self._ask(connection, model, pictures, categories, outputs, deadline_s)
                except (TransportError, BadReply) as error:
                    self._supervisor.doubt(connection, str(error))
                    failures.append(error)
        raise EmbedderUnavailable(
            f"Triton failed twice in a row ({failures[1]}): try again in a moment", RETRY_AFTER_S
        ) from failures[1]

    async def _ask(
        self,
        connection: Connection,
        model: ServedModel,
        pictures: UInt8Array,
        categories: Int32Array,
        outputs: Sequence[str],
        deadline_s: float,
    ) -> dict[str, Float32Array]:
        timeout_s = min(_left(deadline_s), self._settings.request_timeout_s)
        losses = self._supervisor.losses
        try:
            rows = await connection.infer(model, pictures, categories, outputs, timeout_s=timeout_s)
        except TimedOut:
            _left(deadline_s)  # the caller's time is over, and nothing speaks against Triton
            raise
        if self._supervisor.losses != losses:
            raise Unreachable("the connection was lost meanwhile, so another Triton may have answered")
        return rows

    @contextlib.asynccontextmanager
    async def _place(self, deadline_s: float) -> AsyncIterator[None]:
        """Hold one of the places for requests under way."""
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._in_flight.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the pictures waited for Triton: give more time") from None
        try:
            yield
        finally:
            self._in_flight.release()


@contextlib.asynccontextmanager
async def open_embedder(
    settings: TritonSettings,
    *,
    expected_fingerprint: str | None = None,
    expected_model: str | None = None,
    wait: bool = True,
    sharers: int = 1,
) -> AsyncIterator[TritonEmbedder]:
    """Yield an embedder; start the embedded Triton where `settings.url` is unset, and end it afterwards.

    Args:
        settings: where Triton is and which model to use.
        expected_fingerprint: a model that fills `visual` with another one is refused.
        expected_model: the model to use where the settings name none.
        wait: return when the model is ready. Otherwise return at once, and `embed` raises EmbedderUnavailable
            until it is.
        sharers: how many processes of this server watch the same Triton, this one included.
    Raises:
        StartupError: no model can be chosen, Triton isn't installed, or it can't be made ready.
    """
    name = settings.model or expected_model
    host: Host
    model = None
    if settings.url is None:
        model = choose_local(settings, name)
        model.check_fingerprint(expected_fingerprint)
        host = EmbeddedTriton(model, settings.model_repository, startup_timeout_s=settings.startup_timeout_s)
    else:
        host = RemoteTriton(settings.url, name)
    supervisor = Supervisor(host, settings, model=model, expected_fingerprint=expected_fingerprint, sharers=sharers)
    try:
        await supervisor.open(wait=wait)
        yield TritonEmbedder(supervisor, settings)
    finally:
        await supervisor.close()


def choose_local(settings: TritonSettings, name: str | None) -> ServedModel:
    """Return the model of the local repository that is called `name`; without a name, the only one.

    A component of an ensemble isn't counted: its ensemble is.

    Raises:
        StartupError: there is no such model, or the choice isn't clear.
    """
    repository = settings.model_repository
    models, broken = list_models(repository)
    problems = "".join(f"\n  {problem}" for problem in broken)
    if name is not None:
        if name in models:
            return models[name]
        if broken_model := next((b for b in broken if f"/{name}/" in str(b)), None):
            raise StartupError(f"{broken_model}: move the model's folder away and export it anew")
        if models:
            raise StartupError(
                f"the model repository {repository} holds no model {name!r}: choose among {', '.join(models)} with "
                f"--model NAME, or export it there{problems}"
            )
    if len(choice := whole(models)) == 1:
        return next(iter(choice.values()))
    if models:
        raise StartupError(
            f"the model repository {repository} holds several models: say which with --model NAME, NAME being one of "
            f"{', '.join(models)}"
        )
    lack = "holds no model" if repository.is_dir() else "does not exist"
    raise StartupError(
        f"the model repository {repository} {lack}: make one with "
        f"`twinset-exporter export efficientnet_lite0 --repository {repository}`{problems}"
    )


def _check_arguments(model: ServedModel, pictures: UInt8Array, categories: Int32Array, outputs: Sequence[str]) -> None:
    pipeline = model.contract.pipeline
    expected = (pipeline.height, pipeline.width, 3)
    if pictures.ndim != 4 or pictures.shape[1:] != expected or not len(pictures) or pictures.dtype != np.uint8:
        raise ValueError(
            f"pictures are {pictures.dtype} {pictures.shape}, expected uint8 [N, {expected}], N at least 1"
        )
    if categories.shape != (len(pictures),) or categories.dtype != np.int32:
        raise ValueError(f"categories are {categories.dtype} {categories.shape}, expected int32 [{len(pictures)}]")
    named = len(model.contract.categories)
    # Out of the table the model would fail, and all who share its batch with it.
    if named and (categories.min() < 0 or categories.max() > named):
        raise ValueError(f"categories are 0 to {named}, not {categories.min()} to {categories.max()}")
    if unknown := set(outputs) - model.outputs.keys():
        raise ValueError(f"the model {model.name} has no outputs {sorted(unknown)}: it has {sorted(model.outputs)}")


async def _run_all(works: Iterable[Coroutine[None, None, None]]) -> None:
    """Run the coroutines side by side; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _left(deadline_s: float) -> float:
    """Return the seconds left.

    Raises:
        DeadlineExceeded: there are none.
    """
    left_s = deadline_s - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise DeadlineExceeded("the deadline passed before Triton answered: give more time, or send fewer pictures")
    return left_s
