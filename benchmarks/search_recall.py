"""Recall of searches in two spaces that are harder than a mixture: a taste model's factors, and raw pixels.

`search.recall.taste`: factors of films with their norms and biases, compared by inner product; a user has seen 500
items, which are excluded. `search.recall.fashion`: the 60,000 training pictures of Fashion-MNIST as 784 pixels,
compared by Euclidean distance; queries are test pictures. Both are asked through the service as a caller does who says
nothing of accuracy, and once more with `exact`, which has to find all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.fashion import DEBIAN
from benchmarks.figures import Figure, machine, write
from benchmarks.filling import BLOCK, fill_with, item_id
from benchmarks.oracle import Oracle
from benchmarks.service import export, serving
from twinset import Client
from twinset.contract import Metric
from twinset.v1 import recommender_pb2, recommender_pb2_grpc
from twinset_exporter import tensorflow_noise
from twinset_exporter.datasets import idx, movielens
from twinset_exporter.training.taste import two_tower
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.validation import factors
from twinset_server.config import ExternalSpace
from twinset_server.domain import ItemVector, WritableItem

REPOSITORY = Path("build/model_repository")
K = 10
SPACE = "bench"
SEEN = 500
QUERIES = 500
LIKED_FROM = 4.0
JITTER = 0.5
"""Of a made-up film, beside the distance to the film that it is moved towards."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is searched.

    Attributes:
        rows: `[N, D]` float32.
        queries: `[Q, D]` float32.
        seen: the rows that are excluded, for each query.
        protocol: what all that is.
    """

    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    metric: Metric
    protocol: str
    seen: Sequence[NDArray[np.int64]] = ()


@dataclass
class Answers:
    """Of one accuracy: the recall of each query, and how the candidates were chosen."""

    recalls: list[float] = field(default_factory=list)
    methods: Counter[str] = field(default_factory=Counter)
    examined: list[int] = field(default_factory=list)

    def told(self) -> str:
        """Return the plans in words."""
        plans = ", ".join(f"{count} by {name}" for name, count in self.methods.most_common())
        return f"{plans}, {statistics.median(self.examined):,.0f} candidates in the median"


def main() -> None:
    """Train, fill, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ml-100k/u.data, u.item, ua.base and ua.test")
    parser.add_argument("--fashion", type=Path, default=DEBIAN, help="folder of Fashion-MNIST's files")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-recall"), help="where catalogues are made")
    parser.add_argument("--items", type=int, default=100_000, help="films of the taste model, made-up ones included")
    parser.add_argument("--pictures", type=int, default=60_000, help="of Fashion-MNIST, the first so many")
    options = parser.parse_args()
    cases = {
        "taste": taste(data.required(options) / "ml-100k", options.items),
        "fashion": fashion(options.fashion, options.pictures),
    }
    model = export("efficientnet_lite0", REPOSITORY)
    figures = []
    for name, case in cases.items():
        default, exact = measured(options.folder / f"{name}-{len(case.rows)}", model, case)
        if min(exact.recalls) < 1:
            sys.exit(f"search_recall: an exact search of {name} found {min(exact.recalls):.0%} of the true {K} nearest")
        protocol = (
            f"{case.protocol}; {len(case.queries)} queries, k {K}, exact=false; {default.told()}; the same with "
            f"exact=true finds all; exact answers in float32; {machine('twinset', 'usearch', 'numpy')}"
        )
        recall = statistics.fmean(default.recalls)
        figures.append(Figure(f"search.recall.{name}", recall, 0.99, "", "higher", protocol, 0.98))
    write("search_recall", figures)


def taste(folder: Path, items: int) -> Case:
    """Return the factors of a taste model that is trained on MovieLens 100K, with films made up to `items`.

    A made-up film lies between a film and one of its ten nearest, at a place drawn evenly, with normal noise of half
    the distance between the two. Its components but the last are brought to unit length, as the model has them. The
    last is the bias, the logarithm of how much a film is liked, and gets no noise. So norms and biases are spread as
    those of the films are, and the films stand in groups.
    """
    tensorflow_noise.silence()
    published = movielens.read_published(folder)
    feedback = Feedback.of(published.train, LIKED_FROM)
    films, users = factors(two_tower.train(feedback, two_tower.DEFAULT), feedback, two_tower.DEFAULT)
    chance = np.random.default_rng(6)
    queries = users[chance.choice(len(users), min(QUERIES, len(users)), replace=False)]
    rows = _between(films, items - len(films), chance)
    # Half of what a user has seen is what the model likes best for them, as with those who follow its advice.
    seen = []
    for query in queries:
        best = np.argsort(rows @ query)[-SEEN:]
        liked = chance.choice(best, SEEN // 2, replace=False)
        others = np.setdiff1d(chance.choice(len(rows), SEEN, replace=False), liked)[: SEEN - len(liked)]
        seen.append(np.concatenate([liked, others]))
    norms = np.linalg.norm(films, axis=1)
    protocol = (
        f"two towers trained on ua.base of MovieLens 100K: {len(films):,} films of {films.shape[1]} components, the "
        f"last of them the bias, norms {norms.min():.2f} to {norms.max():.2f}; further films up to {len(rows):,} lie "
        f"between a film and one of its ten nearest, with normal noise of {JITTER} of their distance, brought to unit "
        f"length but for the bias; inner product; queries are users; {SEEN} items excluded for each, half of them "
        f"drawn from the {SEEN} that the model scores best, half from all"
    )
    return Case(rows, queries, Metric.INNER_PRODUCT, protocol, seen)


def fashion(folder: Path, pictures: int) -> Case:
    """Return the pixels of Fashion-MNIST, 0 to 1."""
    train = idx.read(folder / "train-images-idx3-ubyte.gz")[:pictures]
    test = idx.read(folder / "t10k-images-idx3-ubyte.gz")[:QUERIES]
    rows, queries = (part.reshape(len(part), -1).astype(np.float32) / 255 for part in (train, test))
    protocol = f"Fashion-MNIST, {len(rows):,} x {rows.shape[1]} pixels; Euclidean; queries are test pictures"
    return Case(rows, queries, Metric.EUCLIDEAN, protocol)


def measured(folder: Path, model: str, case: Case) -> tuple[Answers, Answers]:
    """Return what the service answers by default, and with `exact`."""
    _fill(folder, case)
    oracle = Oracle(case.rows, case.queries, case.metric)
    default, exact = Answers(), Answers()
    # What `_fill` was told, the service is told too.
    os.environ |= {
        f"TWINSET_SPACES__{SPACE.upper()}__DIMENSION": str(case.rows.shape[1]),
        f"TWINSET_SPACES__{SPACE.upper()}__METRIC": case.metric.value,
        "TWINSET_ADMIN__PORT": "0",
    }
    log = folder.parent / "server.log"
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(serving(repository=REPOSITORY, model=model, data=folder, log=log))
        client = stack.enter_context(Client(running.address))
        fingerprint = next(space.fingerprint for space in client.catalog().spaces if space.name == SPACE)
        channel = stack.enter_context(grpc.insecure_channel(running.address))
        stub = recommender_pb2_grpc.RecommenderServiceStub(channel)  # type: ignore[no-untyped-call]
        for number, query in enumerate(case.queries):
            seen = case.seen[number] if case.seen else np.zeros(0, np.int64)
            may = np.ones(len(case.rows), bool)
            may[seen] = False
            vector = {"space": SPACE, "fingerprint": fingerprint, "values": query.tobytes()}
            request = recommender_pb2.RecommendRequest(
                k=K, space=SPACE, examples=[{"vector": vector}], exclude=[item_id(int(row)) for row in seen]
            )
            for answers in (default, exact):
                request.exact = answers is exact
                response = stub.Recommend(request, timeout=60)
                found = [_place(one.item.id) for one in response.recommendations]
                answers.recalls.append(oracle.recall(number, found, K, may))
                method = recommender_pb2.SearchMethod.Name(response.plan.method)
                answers.methods[method.removeprefix("SEARCH_METHOD_").lower()] += 1
                answers.examined.append(response.candidates_examined)
    return default, exact


def _between(films: NDArray[np.float32], more: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """Return the films, and `more` of them made up."""
    squares = np.einsum("nd,nd->n", films, films)
    apart = squares[:, None] - 2 * films @ films.T + squares
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, axis=1)[:, :10]
    one = chance.integers(0, len(films), more)
    way = films[near[one, chance.integers(0, near.shape[1], more)]] - films[one]
    noise = chance.standard_normal((more, films.shape[1] - 1), dtype=np.float32)
    noise *= JITTER * np.linalg.norm(way, axis=1, keepdims=True) / np.sqrt(noise.shape[1], dtype=np.float32)
    made = films[one] + chance.random((more, 1), dtype=np.float32) * way
    made[:, :-1] += noise
    made[:, :-1] /= np.linalg.norm(made[:, :-1], axis=1, keepdims=True)
    return np.concatenate([films, made])


def _fill(folder: Path, case: Case) -> None:
    def block(start: int) -> Iterator[WritableItem]:
        for place, row in enumerate(case.rows[start : start + BLOCK], start):
            yield WritableItem(item_id(place), "", "", "", {}, (), [ItemVector(SPACE, "", row)])

    space = ExternalSpace(dimension=case.rows.shape[1], metric=case.metric)
    fill_with(folder, {SPACE: space}, len(case.rows), block)


def _place(name: str) -> int:
    _, block, place = name.split("/")
    return int(block) * BLOCK + int(place)


if __name__ == "__main__":
    main()
