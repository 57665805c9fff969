"""What a child is told when it starts: its place among the workers, and its share of the server's limits."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Self

from twinset_server.config import ServerSettings, Settings, TritonSettings, received
from twinset_server.rpc.interceptor import Place

_LEAST_IN_FLIGHT = 2
"""A worker that alone has pictures sends one request while the model computes another."""
_LEAST_WAITING_BYTES = 32 << 20
_LEAST_CALLS = 8
"""A connection stays with its worker: what comes over a few of them may well meet in one."""


@dataclass(frozen=True, slots=True)
class Order:
    """The first line on a child's standard input. `model_is_ready` says that Triton was well when it was written."""

    settings: Settings
    place: Place
    model_is_ready: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON knows."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "worker": self.place.worker,
            "workers": self.place.workers,
            "model_is_ready": self.model_is_ready,
        }

    @classmethod
    def from_json(cls, order: dict[str, Any]) -> Self:
        """Return the order that `to_json` gave."""
        place = Place(order["worker"], order["workers"])
        return cls(received(order["settings"]), place, order["model_is_ready"])


def worker_count(settings: ServerSettings) -> int:
    """Return how many workers there are: one a core that this process may use, unless the settings say."""
    return settings.workers or len(os.sched_getaffinity(0))


def share(settings: Settings, workers: int) -> Settings:
    """Return the settings of one of `workers`, which together take on about what `settings` allow.

    What bounds memory is divided. So are requests to the model, as far as a worker keeps it busy by itself: what is
    under way there is ahead of every urgent picture. Threads that decode are not: those of an idle worker cost nothing,
    and one stream alone, which lives in one worker, may use all cores.
    """
    server, triton = settings.server, settings.triton
    return settings.model_copy(
        update={
            "server": server.model_copy(
                update={
                    "workers": workers,
                    "max_pictures_in_flight": math.ceil(server.max_pictures_in_flight / workers),
                    "max_waiting_bytes": max(_LEAST_WAITING_BYTES, server.max_waiting_bytes // workers),
                    "max_stream_bytes": max(_LEAST_WAITING_BYTES, server.max_stream_bytes // workers),
                    "max_reads": _calls(server.max_reads, workers),
                    "max_writes": _calls(server.max_writes, workers),
                    "max_streams": _calls(server.max_streams, workers),
                }
            ),
            "triton": triton.model_copy(update={"max_in_flight": _requests_in_flight(triton, workers)}),
        }
    )


def _calls(limit: int, workers: int) -> int:
    return min(limit, max(_LEAST_CALLS, math.ceil(limit / workers)))


def _requests_in_flight(settings: TritonSettings, workers: int) -> int:
    return min(settings.max_in_flight, max(_LEAST_IN_FLIGHT, math.ceil(settings.max_in_flight / workers)))
