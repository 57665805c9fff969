"""What is counted in a process that answers. docs/operations.md has each of them; a test compares.

Import this only where the process counts, since prometheus_client chooses its files when a metric is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from twinset_server.domain import CatalogStatus, Commits, SpaceStatus
from twinset_server.errors import StoreUnavailable
from twinset_server.ports import Catalog

_CALL_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)
_MODEL_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

CALLS = Counter("twinset_calls", "Calls that ended, by their status; a stream is one.", ["method", "code"])
CALL_SECONDS = Histogram(
    "twinset_call_seconds", "How long calls took that have one answer.", ["method"], buckets=_CALL_SECONDS
)
CALLS_UNDER_WAY = Gauge("twinset_calls_under_way", "Calls that haven't ended.", ["method"], multiprocess_mode="livesum")

PICTURES = Counter("twinset_model_pictures", "Pictures that the model embedded, or was to.", ["outcome"])
BATCH_PICTURES = Histogram(
    "twinset_model_batch_pictures", "Pictures in a request to the model.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
MODEL_SECONDS = Histogram(
    "twinset_model_seconds", "How long requests to the model took, waiting at Triton included.", buckets=_MODEL_SECONDS
)
QUEUE_SECONDS = Histogram(
    "twinset_model_queue_seconds",
    "How long decoded pictures waited in the server for a place in a request.",
    buckets=_MODEL_SECONDS,
)

ITEMS = Gauge("twinset_items", "Items in the catalogue.", multiprocess_mode="livemostrecent")
SEQUENCE = Gauge("twinset_sequence", "The last durable change.", multiprocess_mode="livemostrecent")
VECTORS = Gauge("twinset_vectors", "Vectors that live, by space.", ["space"], multiprocess_mode="livemostrecent")
GENERATION = Gauge(
    "twinset_index_generation", "The generation of the index in use, by space.", ["space"], multiprocess_mode="livemin"
)
DELTA = Gauge(
    "twinset_index_delta", "Vectors that stand outside the index, by space.", ["space"], multiprocess_mode="livemax"
)
BEHIND = Gauge(
    "twinset_index_behind_seconds",
    "For how long vectors have stood outside the index since it last took some in, by space.",
    ["space"],
    multiprocess_mode="livemax",
)
COMMITS = Counter("twinset_commits", "Commits to the catalogue's database; each may hold many writes.")
COMMIT_SECONDS = Counter("twinset_commit_seconds", "Time that commits took, until they were durable.")
RECALL = Gauge(
    "twinset_recall_at_10",
    "The mean share of the true nearest ten that sampled searches found, by space.",
    ["space"],
    multiprocess_mode="livemostrecent",
)


_LOOK_EVERY_S = 10.0


class CallMeter:
    """Counts the calls of one method. What is looked up by labels is looked up once: that costs as much as to count."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._seconds = CALL_SECONDS.labels(method)
        self._under_way = CALLS_UNDER_WAY.labels(method)
        self._ended: dict[str, Counter] = {}

    def begin(self) -> None:
        """Count a call that begins."""
        self._under_way.inc()

    def end(self, code: str, seconds: float | None) -> None:
        """Count a call that has ended; `seconds` is None for a stream, which takes as long as its caller likes."""
        self._under_way.dec()
        counter = self._ended.get(code)
        if counter is None:
            counter = self._ended[code] = CALLS.labels(self._method, code)
        counter.inc()
        if seconds is not None:
            self._seconds.observe(seconds)


class ModelMeter:
    """Counts requests to the model."""

    def left(self, waited_s: Sequence[float]) -> None:
        """Count a request that leaves, whose pictures waited for it so long each."""
        BATCH_PICTURES.observe(len(waited_s))
        for seconds in waited_s:
            QUEUE_SECONDS.observe(seconds)

    def ended(self, pictures: int, seconds: float, *, failed: bool) -> None:
        """Count a request that has ended."""
        MODEL_SECONDS.observe(seconds)
        PICTURES.labels("failed" if failed else "embedded").inc(pictures)


async def watch(catalog: Catalog) -> None:
    """Take note of the catalogue's state again and again, until this is cancelled."""
    meter = CatalogMeter()
    while True:
        # A store that doesn't answer now may do so later; calls tell their callers.
        with contextlib.suppress(StoreUnavailable):
            meter.count(await catalog.status(), time.monotonic())
        await asyncio.sleep(_LOOK_EVERY_S)


class CatalogMeter:
    """Takes note of states of the catalogue, one after the other."""

    def __init__(self) -> None:
        self._committed = Commits()
        self._taken_in: dict[str, tuple[int, float]] = {}

    def count(self, status: CatalogStatus, now_s: float) -> None:
        """Take note of a state as it is at `now_s`, by a clock that only rises."""
        ITEMS.set(status.items)
        SEQUENCE.set(status.sequence)
        COMMITS.inc(status.commits.count - self._committed.count)
        COMMIT_SECONDS.inc(status.commits.seconds - self._committed.seconds)
        self._committed = status.commits
        for one in status.spaces:
            name = one.space.name
            VECTORS.labels(name).set(one.vectors)
            GENERATION.labels(name).set(one.generation)
            DELTA.labels(name).set(one.delta)
            BEHIND.labels(name).set(self._behind_s(one, now_s))
            if one.recall is not None:
                RECALL.labels(name).set(one.recall.recall_at_10)

    def _behind_s(self, space: SpaceStatus, now_s: float) -> float:
        name = space.space.name
        generation, since_s = self._taken_in.get(name, (-1, now_s))
        if space.generation != generation or not space.delta:
            since_s = now_s
        self._taken_in[name] = (space.generation, since_s)
        return now_s - since_s
