"""Triton is lost in every way there is, under calls: what needs none goes on, and what needs it fails clearly.

    python -m faults.outages [--hold 8] [--kinds killed hung unreachable silent slow another-model wrong-shapes]

Killed and hung strike the Triton that the server starts itself. The others strike one elsewhere, which stands in for
the real one and answers as told. All the while items with pictures are put; at the end each stored vector is compared
with the model run right here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.figures import Figure, machine, write
from fakes.models import SIDE, run_locally, tiny_contract, write_tiny_model
from fakes.pictures import png
from fakes.proxy import SilentProxy
from fakes.triton import FakeTriton
from faults import live
from faults.scratch import scratch
from twinset.images import PicturePipeline, decode
from twinset.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)

KINDS = ("killed", "hung", "unreachable", "silent", "slow", "another-model", "wrong-shapes")
OWN = ("killed", "hung")
BACK_WITHIN_S = 30.0
_CALL_S = 8.0
_SLOW_S = 20.0


@dataclass
class Seen:
    """What happened around one outage.

    Attributes:
        stored_calls: calls that need no model.
        stored_failures: those of them that failed.
        failed_in_s: how long calls took to fail that need it.
        codes: what they failed with.
        recovery_s: from the end of the outage, or its beginning where it ends by itself, to the first picture embedded.
        wrong: stored vectors that the model doesn't give.
        stored: vectors compared.
    """

    stored_calls: int = 0
    stored_failures: list[str] = field(default_factory=list)
    failed_in_s: list[float] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    recovery_s: float = 0.0
    wrong: int = 0
    stored: int = 0


class Callers:
    """Three callers, each on a thread of its own while the context is open: by stored item, by picture, and writing."""

    def __init__(self, address: str, seen: Seen) -> None:
        self.seen = seen
        self.written: dict[str, bytes] = {}
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 500)])
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self._recommender = recommender_pb2_grpc.RecommenderServiceStub(self._channel)
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._by_item, self._by_picture, self._writing)]

    def __enter__(self) -> Callers:
        assert self.put("first"), "nothing could be put before the outage"
        assert self.put("second"), "nothing could be put before the outage"
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def put(self, item_id: str) -> bool:
        """Put an item with a picture of its own colour, and return whether it was stored."""
        content = picture(item_id)
        item = catalog_pb2.Item(id=item_id, pictures=[catalog_pb2.Picture(content=content)])
        request = catalog_pb2.PutItemsRequest(items=[item])
        with contextlib.suppress(grpc.RpcError):
            for response in self._catalog.PutItems(iter([request]), timeout=_CALL_S):
                if response.results[0].HasField("receipt"):
                    self.written[item_id] = content
                    return True
        return False

    def answers(self) -> bool:
        """Return whether a picture is embedded now."""
        with contextlib.suppress(grpc.RpcError):
            response = self._embedding.Embed(embedding_pb2.EmbedRequest(pictures=[picture("probe")]), timeout=_CALL_S)
            return response.results[0].HasField("embedding")  # type: ignore[no-any-return]
        return False

    def compare(self) -> None:
        """Compare all that was stored with the model run here."""
        for item_id, content in list(self.written.items()):
            request = catalog_pb2.GetItemRequest(id=item_id, view=catalog_pb2.ITEM_VIEW_FULL)
            stored = self._catalog.GetItem(request, timeout=_CALL_S).item.vectors[0]
            pixels = decode(content, PicturePipeline(SIDE, SIDE))[np.newaxis]
            expected = run_locally(pixels)["embedding"][0]
            self.seen.stored += 1
            self.seen.wrong += not np.allclose(np.frombuffer(stored.values, "<f4"), expected, atol=1e-3)

    def _by_item(self) -> None:
        request = recommender_pb2.RecommendRequest(k=1, examples=[{"item_id": "first"}])
        while not self._ended.wait(0.02):
            try:
                self._recommender.Recommend(request, timeout=2)
            except grpc.RpcError as error:
                self.seen.stored_failures.append(str(error))
            self.seen.stored_calls += 1

    def _by_picture(self) -> None:
        while not self._ended.wait(0.05):
            began = time.monotonic()
            code = self._failure()
            if code:
                self.seen.failed_in_s.append(time.monotonic() - began)
                self.seen.codes.add(code)

    def _failure(self) -> str:
        """Return the code that a picture fails with, empty where it is embedded."""
        request = embedding_pb2.EmbedRequest(pictures=[picture("asked")])
        try:
            result = self._embedding.Embed(request, timeout=_CALL_S).results[0]
        except grpc.RpcError as error:
            return error.code().name if isinstance(error, grpc.Call) else repr(error)
        if result.HasField("embedding"):
            return ""
        return next(code.name for code in grpc.StatusCode if code.value[0] == result.error.code)

    def _writing(self) -> None:
        number = 0
        while not self._ended.wait(0.05):
            number += 1
            self.put(f"item/{number}")


def picture(name: str) -> bytes:
    """Return a picture whose colour is made of its name."""
    red, green, blue = np.frombuffer(name.encode().ljust(3, b"0")[-3:], np.uint8)
    return png((int(red), int(green), int(blue)))


@dataclass(frozen=True, slots=True)
class Fault:
    """An outage: how it begins, and how it ends; None where the server itself is to end it."""

    begin: Callable[[], object]
    end: Callable[[], object] | None


def suffer(server: live.Live, fault: Fault, hold_s: float) -> Seen:
    """Have an outage for so long while calls come, and return what was seen."""
    seen = Seen()
    with Callers(server.address, seen) as callers:
        time.sleep(1)
        fault.begin()
        if fault.end is not None:
            time.sleep(hold_s)
            fault.end()
        seen.recovery_s = live.until(callers.answers, BACK_WITHIN_S, "no picture is embedded")
        time.sleep(0.5)
        callers.compare()
    return seen


def own_triton(server: live.Live, kind: str) -> Fault:
    """Return what strikes the Triton that the server started: it recovers by itself, and nobody ends the outage."""

    def strike() -> None:
        for pid in server.pids("bin/tritonserver"):
            os.kill(pid, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)

    return Fault(strike, None)


class Elsewhere:
    """A stand-in for Triton that other threads strike, behind a proxy that may fall silent."""

    def __init__(self) -> None:
        self._triton = FakeTriton()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @contextlib.contextmanager
    def serving(self, *, proxied: bool) -> Iterator[str]:
        """Serve while the context is open; its value is the address to use."""
        self._thread.start()
        self._do(self._triton.start())
        try:
            with contextlib.ExitStack() as stack:
                if proxied:
                    self._proxy = stack.enter_context(SilentProxy(self._triton.address))
                    yield self._proxy.address
                else:
                    yield self._triton.address
        finally:
            self._do(self._triton.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def fault(self, kind: str) -> Fault:
        """Return the outage of this kind."""
        triton, other = self._triton, tiny_contract(1)

        async def slowly() -> None:
            await asyncio.sleep(_SLOW_S)

        def misshapen(reply: Any) -> None:
            reply.outputs[0].shape[1] -= 1
            reply.raw_output_contents[0] = reply.raw_output_contents[0][: -4 * reply.outputs[0].shape[0]]

        def restart(seed: int) -> None:
            self._do(triton.stop())
            contract = other if seed else tiny_contract(0)
            triton.seed, triton.configs = seed, {tiny_contract(0).model: contract}
            self._do(triton.start())

        return {
            "unreachable": Fault(lambda: self._do(triton.stop()), lambda: self._do(triton.start())),
            "silent": Fault(lambda: self._proxy.fall_silent(), lambda: self._proxy.speak()),
            "slow": Fault(
                lambda: setattr(triton, "before_reply", slowly), lambda: setattr(triton, "before_reply", None)
            ),
            "another-model": Fault(lambda: restart(1), lambda: restart(0)),
            "wrong-shapes": Fault(lambda: setattr(triton, "spoil", misshapen), lambda: setattr(triton, "spoil", None)),
        }[kind]

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


def outage(kind: str, folder: Path, hold_s: float) -> Seen:
    """Start a server, strike its Triton in this way, and return what was seen."""
    if kind in OWN:
        write_tiny_model(folder / "models")
        with live.serving(folder, {"triton": {"model_repository": folder / "models"}}) as server:
            return suffer(server, own_triton(server, kind), hold_s)
    elsewhere = Elsewhere()
    with (
        elsewhere.serving(proxied=kind == "silent") as address,
        live.serving(folder, {"triton": {"url": address}}) as server,
    ):
        return suffer(server, elsewhere.fault(kind), hold_s)


def problems(seen: Seen) -> list[str]:
    """Return what must not be."""
    found = list(seen.stored_failures[:3])
    if seen.wrong:
        found.append(f"{seen.wrong} of {seen.stored} stored vectors are wrong")
    if strange := seen.codes - {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}:
        found.append(f"pictures failed with {strange}")
    return found


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold", type=float, default=8.0, help="seconds that each outage lasts")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    all_seen: dict[str, Seen] = {}
    for kind in options.kinds:
        with scratch() as folder:
            all_seen[kind] = seen = outage(kind, folder, options.hold)
        told = "; ".join(problems(seen)) or "all well"
        slowest_s = max(seen.failed_in_s, default=0.0)
        print(
            f"{kind}: {seen.stored_calls} calls by stored item, {len(seen.stored_failures)} failed; "
            f"{len(seen.failed_in_s)} by picture failed with {sorted(seen.codes)} within {slowest_s:.1f} s; "
            f"recovered in {seen.recovery_s:.1f} s; {seen.stored} vectors compared: {told}",
            flush=True,
        )
    rows = figures(all_seen, options.hold)
    write("outages", rows)
    return 0 if all(row.reaches(row.bound) for row in rows) and not any(map(problems, all_seen.values())) else 1


def figures(all_seen: dict[str, Seen], hold_s: float) -> Sequence[Figure]:
    """Return the rows: the worst of all kinds."""
    protocol = f"Triton {', '.join(all_seen)} for {hold_s:g} s each under three callers; {machine('grpcio')}"
    seen = all_seen.values()
    recovery_s = max(one.recovery_s for one in seen)
    failed_in_s = max((max(one.failed_in_s, default=0.0) for one in seen), default=0.0)
    return [
        Figure("triton_loss.recovery_s", recovery_s, None, "s, the longest", "lower", protocol, bound=5),
        Figure("triton_loss.failed_in_s", failed_in_s, None, "s, the longest", "lower", protocol, bound=_CALL_S + 0.5),
        Figure(
            "triton_loss.stored_failures",
            sum(len(one.stored_failures) for one in seen),
            None,
            "calls",
            "lower",
            protocol,
            bound=0,
        ),
        Figure(
            "triton_loss.wrong_vectors", sum(one.wrong for one in seen), None, "vectors", "lower", protocol, bound=0
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
