"""What pairs cost through the service, and how many of the best complements an approximate search finds.

One worker answers over 100,000 items with a vector on both sides, of 64 components; callers are another process that
sends requests made in advance. `pairs.per_s`: pairs of stored items that BatchScorePairs scores a second, 8,192 a
message, of 4,096 items drawn at random for each message; `pairs.per_s.distinct`: the same with each item in one pair
alone. `complement.recall_at_10.METRIC`: how many of the ten targets of the highest probability Recommend finds with the
relation COMPLETES, by the index's own accuracy (exact=false), over 500 sources.
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

from benchmarks.figures import Figure, machine, write
from benchmarks.mixture import Mixture
from benchmarks.oracle import Oracle
from benchmarks.pair_service import Pieces, contract_of, fill, serving_pairs
from twinset.contract import Metric, ModelContract
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset.v1 import pairs_pb2, recommender_pb2, recommender_pb2_grpc

DIMENSION = 64
PAIRS = 8192
ITEMS = 4096
IN_FLIGHT = 3
QUERIES = 500
K = 10
PAIR = PairContract(offset=0.5, scale=1.2, shift=-0.1, prior=0.5, ece=0.0)
METRICS = (Metric.EUCLIDEAN, Metric.INNER_PRODUCT)

_BATCH = "/twinset.v1.RecommenderService/BatchScorePairs"


def main() -> None:
    """Fill, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-pairs"), help="where catalogues are made")
    parser.add_argument("--items", type=int, default=100_000, help="in the catalogue")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which pairs are asked, of each kind")
    options = parser.parse_args()
    figures: list[Figure] = []
    for metric in METRICS:
        pieces = drawn(metric, options.items)
        contract = contract_of(metric, DIMENSION, PAIR)
        folder = options.folder / f"{metric.value}-{options.items}"
        shutil.rmtree(folder, ignore_errors=True)
        fill(folder, contract, pieces)
        with serving_pairs(folder, contract) as address:
            figures.append(_complements(address, contract, pieces))
            if metric is Metric.EUCLIDEAN:
                figures += _speed(address, pieces, options.seconds)
    write("pairs_speed", figures)


def drawn(metric: Metric, count: int) -> Pieces:
    """Return items as a trained head has them: clusters, norms of .5 to 1.5, and a bias of each side.

    By the inner product biases are carried as `(bias, 1)` and `(1, bias)`; by the Euclidean metric, which only takes
    away, as the root of what they lack of the highest.
    """
    chance = np.random.default_rng(7)
    mixture = Mixture(DIMENSION - 2)
    rows = mixture.rows(count, 1)
    others = rows + chance.standard_normal(rows.shape, dtype=np.float32) * np.float32(0.5 / np.sqrt(DIMENSION))
    norms = chance.uniform(0.5, 1.5, (2, count, 1)).astype(np.float32)
    biases = chance.normal(0, 0.3, (2, count, 1)).astype(np.float32)
    one, none = np.ones_like(biases[0]), np.zeros_like(biases[0])
    if metric is Metric.INNER_PRODUCT:
        source, target = (biases[0], one), (one, biases[1])
    else:
        lacking = np.sqrt(biases.max(axis=1, keepdims=True) - biases)
        source, target = (lacking[0], none), (none, lacking[1])
    return Pieces(
        [f"item/{number:08}" for number in range(count)],
        np.hstack([rows * norms[0], *source]),
        np.hstack([others * norms[1], *target]),
    )


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
        f"{len(pieces.ids):,} x {DIMENSION} vectors in {PAIR_TARGET}, {metric.value}; {QUERIES} sources as vectors, "
        f"relation COMPLETES, k {K}, no accuracy asked for; {told}; {statistics.median(examined):,.0f} candidates "
        f"compared in the median; the exact ten in float32; {machine('twinset', 'usearch', 'numpy')}"
    )
    return Figure(
        f"complement.recall_at_10.{metric.value}", statistics.fmean(recalls), None, "share", "higher", protocol, 0.98
    )


def _speed(address: str, pieces: Pieces, seconds: float) -> Iterator[Figure]:
    for name, items in (("pairs.per_s", ITEMS), ("pairs.per_s.distinct", 2 * PAIRS)):
        made = [_request(pieces, items, seed) for seed in range(8)]
        rate = _rate(address, made, seconds)
        protocol = (
            f"{len(pieces.ids):,} items of {DIMENSION} components, {METRICS[0].value}; {PAIRS:,} pairs a message of "
            f"{items:,} items drawn at random, {IN_FLIGHT} messages in flight; one worker, callers another process "
            f"that reads no numbers; {seconds:g} s; {machine('twinset', 'grpcio', 'numpy')}"
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
