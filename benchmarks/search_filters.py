"""What filters do to searches: recall and the median time of an answer, while attributes change.

A catalogue of a clustered mixture gets six made-up attributes (`benchmarks.shop`). Filters are drawn at random, each
used once: such that 50, 10, 1 or 0.1 % of the items match, by attributes that have nothing to do with the vectors
(`random`) or that follow from them (`correlated`). The real service answers searches without a filter and with each
kind of filter in a shuffled order, one at a time, while another caller turns `in_stock` of 1,000 items a second round.
Afterwards each answer is held against the exact one by the attributes of the moment: an answer names the change that it
has seen last, and every change is on record (`benchmarks.flips`).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import BLOCK, fill_with, item_id
from benchmarks.flips import History, flipping
from benchmarks.load import connections
from benchmarks.mixture import Mixture
from benchmarks.oracle import Oracle
from benchmarks.service import export, serving
from benchmarks.shop import Filter, Kind, Shop
from twinset import Client
from twinset.contract import Metric
from twinset.v1 import recommender_pb2
from twinset_server.config import ExternalSpace
from twinset_server.domain import ItemVector, WritableItem

REPOSITORY = Path("build/model_repository")
SPACE = "bench"
DIMENSION = 512
K = 10
QUERIES = 100
FLIPS_PER_S = 1000.0
SHARES = {"50": 0.5, "10": 0.1, "1": 0.01, "0.1": 0.001}
"""In percent, as figures name them."""
KINDS: tuple[Kind, ...] = ("random", "correlated")

console = Console()


@dataclass(frozen=True, slots=True)
class Asked:
    """A search that is to be made: as which kind of filter it counts, by what, for which query."""

    group: str
    filter: Filter | None
    query: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of it, and after how many seconds."""

    asked: Asked
    turn: int
    seconds: float
    response: recommender_pb2.RecommendResponse


def main() -> None:
    """Fill, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-filters"), help="where catalogues are made")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--million", action="store_true", help="ask a catalogue of 1,000,000 items too")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--each", type=int, default=15, help="filters of each kind in a turn")
    parser.add_argument("--fill-only", action="store_true", help="make the catalogues for a later run")
    options = parser.parse_args()
    os.environ |= {f"TWINSET_SPACES__{SPACE.upper()}__DIMENSION": str(DIMENSION), "TWINSET_ADMIN__PORT": "0"}
    sizes = {"": options.items} | ({"_million": 1_000_000} if options.million else {})
    model = export("efficientnet_lite0", REPOSITORY)
    figures: list[Figure] = []
    for suffix, items in sizes.items():
        folder = options.folder / str(items)
        shop, rows = _filled(folder, items)
        if not options.fill_only:
            figures += measured(folder, model, shop, rows, suffix, options)
            write("search_filters", figures)


def measured(
    folder: Path, model: str, shop: Shop, rows: NDArray[np.float32], suffix: str, options: argparse.Namespace
) -> list[Figure]:
    """Return the figures of one catalogue; their names get `suffix`."""
    queries = Mixture(DIMENSION).rows(QUERIES, 77)
    with serving(repository=REPOSITORY, model=model, data=folder, log=options.folder / "server.log") as running:
        with Client(running.address) as client:
            fingerprint = next(space.fingerprint for space in client.catalog().spaces if space.name == SPACE)
        turns = list(drawn(shop, queries, fingerprint, options.turns + 1, options.each))
        # Flips of an earlier run are stored: what holds at first is what the service says.
        first = _stored(running.address, len(rows))
        began = time.monotonic()
        with flipping(running.address, first, FLIPS_PER_S, options.folder) as changes:
            answers = list(ask(running.address, turns))
            seconds = time.monotonic() - began
    oracle = Oracle(rows, queries, Metric.COSINE)
    recalls = recall(answers, oracle, History(first, changes[0]))
    protocol = (
        f"{len(rows):,} x {DIMENSION}; {options.turns * options.each} filters of each kind, drawn at random, each used "
        f"once, among as many searches without one, in {options.turns} shuffled turns after one that warms up; one "
        f"search at a time from one caller by turns to every worker, timed at the caller; builder on; "
        f"{len(changes[0]) / seconds:,.0f} items a second got another in_stock meanwhile; p50 without a filter "
        f"{1000 * _p50(answers, ''):.2f} ms; exact answers in float32 as of the change that an answer names; "
        + machine("twinset", "usearch", "numpy", "grpcio")
    )
    figures = []
    for kind, share in itertools.product(KINDS, SHARES):
        group = f"{share}.{kind}"
        told = f"{_plans(answers, group)}; p50 {1000 * _p50(answers, group):.2f} ms; {protocol}"
        figures.append(Figure(f"filter.recall{suffix}.{group}", recalls[group], 0.995, "", "higher", told, 0.99))
        bound, aim = (6.0, 4.0) if suffix else (3.0, 2.0)
        ratio = statistics.median(
            _p50(answers, group, turn) / _p50(answers, "", turn) for turn in range(1, options.turns + 1)
        )
        figures.append(Figure(f"filter.p50_ratio{suffix}.{group}", ratio, aim, "x", "lower", told, bound))
    without = f"the searches without a filter in that run; {protocol}"
    return [*figures, Figure(f"filter.recall{suffix}.unfiltered", recalls[""], None, "", "higher", without)]


def drawn(
    shop: Shop, queries: NDArray[np.float32], fingerprint: str, turns: int, each: int
) -> Iterator[Sequence[Asked]]:
    """Yield the searches of each turn in the order in which they are to be made."""
    chance = np.random.default_rng(3)
    numbers = itertools.count()
    for _ in track(range(turns), "draw filters"):
        turn: list[Asked] = []
        for _ in range(each):
            filters: dict[str, Filter | None] = {"": None}
            for kind, (name, share) in itertools.product(KINDS, SHARES.items()):
                filters[f"{name}.{kind}"] = shop.filter(kind, share, chance)
            query = next(numbers) % len(queries)  # the same for all of them
            vector = {"space": SPACE, "fingerprint": fingerprint, "values": queries[query].tobytes()}
            for group, chosen in filters.items():
                request = recommender_pb2.RecommendRequest(k=K, space=SPACE, examples=[{"vector": vector}])
                if chosen is not None:
                    request.filter = chosen.text
                turn.append(Asked(group, chosen, query, request.SerializeToString()))
        yield [turn[place] for place in chance.permutation(len(turn))]


def ask(address: str, turns: Sequence[Sequence[Asked]]) -> Iterator[Answered]:
    """Make the searches one after another, and yield what came back; the first turn is number 0."""
    method = "/twinset.v1.RecommenderService/Recommend"
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(channel) for channel in connections(address, 1)]
        calls = [
            channel.unary_unary(method, None, recommender_pb2.RecommendResponse.FromString) for channel in channels
        ]
        for turn, searches in enumerate(turns):
            for number, asked in enumerate(searches):
                began = time.perf_counter()
                response = calls[number % len(calls)](asked.message, timeout=30)
                yield Answered(asked, turn, time.perf_counter() - began, response)


def recall(answers: Sequence[Answered], oracle: Oracle, history: History) -> dict[str, float]:
    """Return the mean recall of each group, all turns together."""
    found = defaultdict(list)
    places = _Places()
    for answer in sorted(answers, key=lambda answer: answer.response.sequence):
        in_stock = history.at(answer.response.sequence)
        asked = answer.asked
        may = None if asked.filter is None else asked.filter.among(in_stock)
        rows = [places[one.item.id] for one in answer.response.recommendations]
        found[asked.group].append(oracle.recall(asked.query, rows, K, may))
    return {group: statistics.fmean(recalls) for group, recalls in found.items()}


class _Places(dict[str, int]):
    """The number of an item by its id."""

    def __missing__(self, name: str) -> int:
        _, block, place = name.split("/")
        return int(block) * BLOCK + int(place)


def _filled(folder: Path, items: int) -> tuple[Shop, NDArray[np.float32]]:
    """Return the attributes and the vectors, `[N, D]`, of a catalogue that is made where it isn't yet."""
    mixture = Mixture(DIMENSION)
    rows = np.concatenate(list(mixture.blocks(items, BLOCK, 0)))
    shop = Shop(rows)

    def block(start: int) -> Iterator[WritableItem]:
        for place in range(start, min(items, start + BLOCK)):
            category, attributes = shop.attributes(place)
            vectors = [ItemVector(SPACE, "", rows[place])]
            yield WritableItem(item_id(place), "", "", category, attributes, (), vectors)

    console.print(f"{items:,} items in {folder} ...", highlight=False)
    fill_with(folder, {SPACE: ExternalSpace(dimension=DIMENSION)}, items, block)
    return shop, rows


def _stored(address: str, items: int) -> NDArray[np.bool_]:
    """Return `in_stock` of every item as it is stored, `[N]`."""
    in_stock = np.zeros(items, bool)
    places = _Places()
    seen = 0
    with Client(address) as client:
        for item in track(client.list_items(), "read in_stock", total=items):
            in_stock[places[item.id]] = item.attributes["in_stock"]
            seen += 1
    if seen != items:
        sys.exit(f"search_filters: the catalogue holds {seen:,} items, not {items:,}: remove its folder")
    return in_stock


def _p50(answers: Sequence[Answered], group: str, turn: int | None = None) -> float:
    """Return the median seconds of a group's searches, of one turn or of all but the one that warms up."""
    return statistics.median(
        answer.seconds
        for answer in answers
        if answer.asked.group == group and (answer.turn == turn if turn is not None else answer.turn)
    )


def _plans(answers: Sequence[Answered], group: str) -> str:
    """Return how a group's candidates were chosen."""
    chosen = [answer.response for answer in answers if answer.asked.group == group]
    methods = [recommender_pb2.SearchMethod.Name(answer.plan.method) for answer in chosen]
    counts = {name.removeprefix("SEARCH_METHOD_").lower(): methods.count(name) for name in sorted(set(methods))}
    examined = statistics.median(answer.candidates_examined for answer in chosen)
    plans = ", ".join(f"{count} by {name}" for name, count in counts.items())
    return f"{plans}, {examined:,.0f} candidates in the median"


if __name__ == "__main__":
    main()
