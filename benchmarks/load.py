"""A caller in a process of its own, cheap enough not to be what is measured.

    python -m benchmarks.load puts     ADDRESS SPACE FINGERPRINT --dimension D --seconds S [--rate R] ...
    python -m benchmarks.load updates  ADDRESS ...
    python -m benchmarks.load searches ADDRESS ...

Each prints one JSON object at its end. It opens connections until it has the same number to every worker.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np

from benchmarks.mixture import Mixture
from twinset.v1 import catalog_pb2, recommender_pb2

PER_MESSAGE = 64
IN_FLIGHT = 4
"""Messages of a stream that wait for their answer."""

_TRIES = 64
_CATALOG = "/twinset.v1.CatalogService/"
_RECOMMEND = "/twinset.v1.RecommenderService/Recommend"


def connections(address: str, per_worker: int) -> list[grpc.Channel]:
    """Return `per_worker` connections to each worker, which names itself in the metadata of its answers.

    One that shares its port with none has no name.
    """
    channels: dict[str, list[grpc.Channel]] = {}
    for _ in range(_TRIES):
        channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        ask = channel.unary_unary(_CATALOG + "GetCatalog", _bytes, _bytes)
        _, call = ask.with_call(b"", timeout=30, wait_for_ready=True)
        metadata = dict(call.trailing_metadata())
        own = channels.setdefault(metadata.get("twinset-worker", "0"), [])
        if len(own) < per_worker:
            own.append(channel)
        else:
            channel.close()
        if len(channels) == int(metadata.get("twinset-workers", "1")) and all(
            len(c) == per_worker for c in channels.values()
        ):
            return [channel for group in zip(*channels.values(), strict=True) for channel in group]
    raise RuntimeError(f"{address}: {_TRIES} connections, and some worker has fewer than {per_worker} of them")


def _bytes(message: bytes) -> bytes:
    return message


@dataclass
class Writes:
    """What became of writes: items acknowledged by the second since the start, and for how long they were held back."""

    per_second: dict[int, int] = field(default_factory=dict)
    slowed_s: float = 0.0
    failed: int = 0


def write(
    channel: grpc.Channel, method: str, messages: Iterator[bytes], respond: Callable[[bytes], tuple[int, int, float]]
) -> Writes:
    """Send `messages` on one stream, `IN_FLIGHT` at a time; `respond` reads stored, failed, seconds held back."""
    done, room, begun = Writes(), threading.Semaphore(IN_FLIGHT), time.monotonic()

    def sending() -> Iterator[bytes]:
        for message in messages:
            room.acquire()
            yield message

    for answer in channel.stream_stream(_CATALOG + method, _bytes, _bytes)(sending()):
        room.release()
        stored, failed, slowed_s = respond(answer)
        second = int(time.monotonic() - begun)
        done.per_second[second] = done.per_second.get(second, 0) + stored
        done.failed += failed
        done.slowed_s += slowed_s
    return done


def paced(make: Callable[[], bytes], *, count: int | None, seconds: float, rate: float) -> Iterator[bytes]:
    """Yield messages until `count` items or `seconds` are over, at most `rate` items a second (0: any)."""
    begun = time.monotonic()
    for number in itertools.count() if count is None else range(-(-count // PER_MESSAGE)):
        if rate:
            time.sleep(max(0.0, begun + number * PER_MESSAGE / rate - time.monotonic()))
        if time.monotonic() - begun >= seconds:
            return
        yield make()


def puts(options: argparse.Namespace) -> None:
    """Put new items with a vector each."""
    mixture, seeds = Mixture(options.dimension), itertools.count(options.seed)
    run = secrets.token_hex(4)

    def make() -> bytes:
        seed = next(seeds)
        request = catalog_pb2.PutItemsRequest(request_id=f"{run}-{seed}")
        for place, row in enumerate(mixture.rows(PER_MESSAGE, seed)):
            item = request.items.add(id=f"{options.prefix}-{run}/{seed:08}/{place:02}", category=f"c{place % 20}")
            item.vectors.add(space=options.space, fingerprint=options.fingerprint, values=row.tobytes())
        return request.SerializeToString()

    def respond(answer: bytes) -> tuple[int, int, float]:
        response = catalog_pb2.PutItemsResponse.FromString(answer)
        stored = sum(result.HasField("receipt") for result in response.results)
        slowed = response.slowed_by
        return stored, len(response.results) - stored, slowed.seconds + slowed.nanos / 1e9

    _write(options, "PutItems", make, respond)


def updates(options: argparse.Namespace) -> None:
    """Change one attribute of random stored items, `PREFIX/00000000/00` and so on."""
    chance = np.random.default_rng(options.seed)

    def make() -> bytes:
        request = catalog_pb2.UpdateItemsRequest()
        for key in chance.choice(options.items, PER_MESSAGE, replace=False):
            update = request.updates.add()
            update.item.id = f"{options.prefix}/{key // PER_MESSAGE:08}/{key % PER_MESSAGE:02}"
            update.item.attributes["price"].double_value = float(chance.integers(100, 10_000)) / 100
            update.update_mask.paths.append("attributes.price")
        return request.SerializeToString()

    def respond(answer: bytes) -> tuple[int, int, float]:
        response = catalog_pb2.UpdateItemsResponse.FromString(answer)
        stored = sum(result.HasField("receipt") for result in response.results)
        return stored, len(response.results) - stored, 0.0

    _write(options, "UpdateItems", make, respond)


def _write(
    options: argparse.Namespace,
    method: str,
    make: Callable[[], bytes],
    respond: Callable[[bytes], tuple[int, int, float]],
) -> None:
    channels = connections(options.address, options.streams)
    messages = paced(make, count=options.count, seconds=options.seconds, rate=options.rate)
    # Made by one thread, a little ahead: a stream that waits for its message would slow its worker down.
    ready: queue.Queue[bytes | None] = queue.Queue(2 * len(channels))
    results: list[Writes] = []

    def produce() -> None:
        for message in messages:
            ready.put(message)
        for _ in channels:
            ready.put(None)

    def stream(channel: grpc.Channel) -> None:
        results.append(write(channel, method, iter(ready.get, None), respond))

    begun = time.monotonic()
    threads = [threading.Thread(target=produce), *(threading.Thread(target=stream, args=(c,)) for c in channels)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begun
    last = max((second for done in results for second in done.per_second), default=0)
    per_second = [sum(done.per_second.get(second, 0) for done in results) for second in range(last + 1)]
    report = {
        "items": sum(per_second),
        "failed": sum(done.failed for done in results),
        "seconds": seconds,
        "slowed_s": sum(done.slowed_s for done in results),
        "per_second": per_second,
    }
    print(json.dumps(report))


def searches(options: argparse.Namespace) -> None:
    """Search at a steady rate, and time each search from the moment when it was due."""
    queries = [
        recommender_pb2.RecommendRequest(
            k=10,
            space=options.space,
            examples=[
                {"vector": {"space": options.space, "fingerprint": options.fingerprint, "values": row.tobytes()}}
            ],
        ).SerializeToString()
        for row in Mixture(options.dimension).rows(2000, options.seed)
    ]
    calls = [
        channel.unary_unary(_RECOMMEND, _bytes, _bytes) for channel in connections(options.address, options.streams)
    ]
    for number in range(200):  # connections and caches warm up
        calls[number % len(calls)](queries[number], timeout=30)
    began, epoch = time.monotonic(), time.time()
    lock, numbers = threading.Lock(), itertools.count()
    samples: list[tuple[float, float]] = []

    def search() -> None:
        while True:
            with lock:
                number = next(numbers)
            due = number / options.rate
            if due >= options.seconds:
                return
            time.sleep(max(0.0, began + due - time.monotonic()))
            calls[number % len(calls)](queries[number % len(queries)], timeout=30)
            samples.append((epoch + due, time.monotonic() - began - due))

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"samples": sorted(samples)}))


def main() -> None:
    """Run one kind of caller."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {kind.__name__: kind for kind in (puts, updates, searches)}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("address")
    parser.add_argument("--space", default="bench")
    parser.add_argument("--fingerprint", default="")
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long")
    parser.add_argument("--count", type=int, help="how many items")
    parser.add_argument("--rate", type=float, default=0, help="items or searches a second; 0 is as fast as they go")
    parser.add_argument("--streams", type=int, default=2, help="connections to each worker")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix", default="item", help="what ids begin with")
    parser.add_argument("--items", type=int, default=0, help="how many stored items there are to update")
    options = parser.parse_args()
    kinds[options.kind](options)


if __name__ == "__main__":
    main()
