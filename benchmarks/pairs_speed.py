"""What pairs cost through the service, and how many of the best complements an approximate search finds.

A head is trained on all of IKEA's rooms, and items are made up to 100,000 between its own. One worker answers over
their vectors; callers are another process that sends requests made in advance. `pairs.per_s`: pairs of stored items
that BatchScorePairs scores a second, 8,192 a message, of 4,096 items drawn at random for each message;
`pairs.per_s.distinct`: the same with each item in one pair alone. `complement.recall_at_10.METRIC`: how many of the ten
targets of the highest probability Recommend finds with the relation COMPLETES, by the index's own accuracy
(exact=false), over 500 sources.
"""

from __future__ import annotations

import argparse
import itertools
import queue
import shutil
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.features import embedded
from benchmarks.figures import Figure, machine, write
from benchmarks.oracle import Oracle
from benchmarks.pair_service import Pieces, contract_of, fill, serving_pairs
from benchmarks.quality_ikea import read_rooms, trained
from twinset.contract import Metric, ModelContract
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset.v1 import pairs_pb2, recommender_pb2, recommender_pb2_grpc
from twinset_exporter.training.compatibility import publication
from twinset_exporter.training.compatibility.examples import Rooms
from twinset_exporter.training.compatibility.sides import Sides
from twinset_exporter.training.compatibility.trainer import Recipe

NEAREST = 10
JITTER = 0.5
PAIRS = 8192
ITEMS = 4096
IN_FLIGHT = 3
QUERIES = 500
K = 10
METRICS = (Metric.EUCLIDEAN, Metric.INNER_PRODUCT)

_BATCH = "/twinset.v1.RecommenderService/BatchScorePairs"


def main() -> None:
    """Fill, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ikea/items.csv, ikea/rooms.csv and ikea/images")
    parser.add_argument("--features", type=Path, help="what embed wrote of ikea/images (default: embed them now)")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-pairs"), help="where catalogues are made")
    parser.add_argument("--items", type=int, default=100_000, help="in the catalogue")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which pairs are asked, of each kind")
    options = parser.parse_args()
    images = data.required(options) / "ikea" / "images"
    features = embedded(images, "ikea", options.features)
    rooms = read_rooms(images.parent, features.ids, features.rows)
    figures: list[Figure] = []
    for metric in METRICS:
        sides = trained(rooms, np.arange(len(rooms.groups.group_ids)), Recipe(across=True, metric=metric), 0)
        pieces = made(sides, rooms, options.items)
        contract = contract_of(metric, sides.dimension, publication.contract(sides, prior=0.5, ece=0.0))
        folder = options.folder / f"{metric.value}-{options.items}"
        shutil.rmtree(folder, ignore_errors=True)
        fill(folder, contract, pieces)
        with serving_pairs(folder, contract) as address:
            figures.append(_complements(address, contract, pieces))
            if metric is Metric.EUCLIDEAN:
                figures += _speed(address, pieces, options.seconds)
    write("pairs_speed", figures)


def made(sides: Sides, rooms: Rooms, count: int) -> Pieces:
    """Return the items of a head, with items made up to `count`.

    A made-up item lies between an item and one of its ten nearest, by the vectors of both sides, at a place drawn
    evenly; all but the last two components, which carry the biases, get normal noise of half that distance.
    """
    chance = np.random.default_rng(7)
    source, target = sides.vectors(rooms.items.features, rooms.items.categories)
    both = np.hstack([source, target])
    squares = np.einsum("nd,nd->n", both, both)
    apart = squares[:, None] - 2 * both @ both.T + squares
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :NEAREST]
    one = chance.integers(0, len(both), count - len(both))
    other = near[one, chance.integers(0, NEAREST, len(one))]
    share = chance.random((len(one), 1), dtype=np.float32)
    rows = []
    for side in (source, target):
        way = side[other] - side[one]
        noise = chance.standard_normal((len(one), side.shape[1] - 2), dtype=np.float32)
        noise *= JITTER * np.linalg.norm(way, axis=1, keepdims=True) / np.sqrt(noise.shape[1], dtype=np.float32)
        between = side[one] + share * way
        between[:, :-2] += noise
        rows.append(np.concatenate([side, between]))
    return Pieces([f"item/{number:08}" for number in range(count)], *rows)


def _complements(address: str, contract: ModelContract, pieces: Pieces) -> Figure:
    chosen = np.random.default_rng(3).choice(len(pieces.ids), QUERIES, replace=False)
    metric = contract.spaces[0].metric
    oracle = Oracle(pieces.target, pieces.source[chosen], metric)
    places = {item_id: place for place, item_id in enumerate(pieces.ids)}
    fingerprint = contract.fingerprint_of(PAIR_SOURCE)
    recalls, examined, plans = [], [], Counter[str]()
    with grpc.insecure_channel(address) as channel:
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)  # type: ignore[no-untyped-call]
        for number, row in enumerate(chosen.tolist()):
            vector = {"space": PAIR_SOURCE, "fingerprint": fingerprint, "values": pieces.source[row].tobytes()}
            example = {"vector": vector, "relation": recommender_pb2.RELATION_COMPLETES}
            answer = stub.Recommend(recommender_pb2.RecommendRequest(examples=[example], k=K), timeout=60)
            found = [places[one.item.id] for one in answer.recommendations]
            recalls.append(oracle.recall(number, found, K))
            examined.append(answer.candidates_examined)
            method = recommender_pb2.SearchMethod.Name(answer.plan.method).removeprefix("SEARCH_METHOD_").lower()
            plans[f"{method}, exact={str(answer.exact).lower()}"] += 1
    told = ", ".join(f"{count} by {name}" for name, count in plans.most_common())
    protocol = (
        f"{len(pieces.ids):,} x {pieces.target.shape[1]} vectors in {PAIR_TARGET}, {metric.value}, of a head trained "
        f"on IKEA's rooms, most of its items made up between others; {QUERIES} sources as vectors, relation COMPLETES, "
        f"k {K}, no accuracy asked for; {told}; {statistics.median(examined):,.0f} candidates compared in the median; "
        f"the exact ten in float32; {machine('twinset', 'usearch', 'numpy')}"
    )
    return Figure(
        f"complement.recall_at_10.{metric.value}", statistics.fmean(recalls), None, "share", "higher", protocol, 0.98
    )


def _speed(address: str, pieces: Pieces, seconds: float) -> Iterator[Figure]:
    for name, items in (("pairs.per_s", ITEMS), ("pairs.per_s.distinct", 2 * PAIRS)):
        rate = _rate(address, [_request(pieces, items, seed) for seed in range(8)], seconds)
        protocol = (
            f"{len(pieces.ids):,} items of {pieces.source.shape[1]} components, {METRICS[0].value}; {PAIRS:,} pairs a "
            f"message of {items:,} items drawn at random, {IN_FLIGHT} messages in flight; one worker, callers another "
            f"process that reads no numbers; {seconds:g} s; {machine('twinset', 'grpcio', 'numpy')}"
        )
        yield Figure(name, rate, 300_000, "pairs/s", "higher", protocol, 100_000)


def _request(pieces: Pieces, items: int, seed: int) -> bytes:
    chance = np.random.default_rng(seed)
    chosen = chance.choice(len(pieces.ids), items, replace=False).tolist()
    sides: NDArray[np.int64] = np.concatenate([chance.permutation(items) for _ in range(-(-2 * PAIRS // items))])
    return pairs_pb2.BatchScorePairsRequest(
        item_ids=[pieces.ids[number] for number in chosen],
        left=sides[:PAIRS].tolist(),
        right=sides[PAIRS : 2 * PAIRS].tolist(),
    ).SerializeToString()


def _rate(address: str, requests: list[bytes], seconds: float) -> float:
    """Return the pairs that are scored a second, after a second that isn't counted."""
    done: queue.SimpleQueue[float] = queue.SimpleQueue()
    end = time.perf_counter() + 1 + seconds

    def ask(first: int) -> None:
        with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(_BATCH)
            for request in itertools.islice(itertools.cycle(requests), first, None):
                answer = call(request, timeout=60)
                if time.perf_counter() >= end:
                    return
                # Eight bytes of a probability and four of a distance.
                assert len(answer) > 12 * PAIRS  # noqa: S101 - as many as were asked for
                done.put(time.perf_counter())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moments = [done.get() for _ in range(done.qsize())]
    return PAIRS * sum(moment >= end - seconds for moment in moments) / seconds


if __name__ == "__main__":
    main()
