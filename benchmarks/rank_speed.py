"""RankForUser over 100,000 items with the norms and biases of trained factors, 500 seen items excluded.

`rank.ann_recall_at_10`: of the true 10 best, by what callers get who say nothing of accuracy; the protocol tells how
many answers weren't exact. `rank.over_recommend`: processor time of the server for RankForUser by a user's id over that
for Recommend by that user's vector, with the same items excluded, in turns. `rank.rerank_triton_share`: the share
of Triton in the processor time of a ranking whose best 500 an interaction model scores again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from benchmarks.processor import seconds_by_part
from benchmarks.rank_service import serving_ranks
from benchmarks.search_recall import Case, taste
from twinset import Client, Item, Rerank, Vector
from twinset.factors import FoldIn, open_factors
from twinset_exporter import tensorflow_noise
from twinset_exporter.interaction.publication import Request, publish
from twinset_exporter.own_triton import own_triton
from twinset_exporter.repository import Repository
from twinset_exporter.steps import ConsoleSteps
from twinset_exporter.training.taste import factor_files, interaction
from twinset_server.catalog.folder import hold
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import StoreSettings

K = 10
RERANKED = 500


def main() -> None:
    """Train, import, ask, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "ml-100k/u.data, u.item, ua.base and ua.test")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-ranking-speed"), help="for the catalogue")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=500, help="at most")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    case = taste(data.required(options) / "ml-100k", options.items)
    shutil.rmtree(options.folder, ignore_errors=True)
    fingerprint = _write(options.folder / "factors", case)
    users = [f"user {number}" for number in range(len(case.queries))][: options.users]
    seen = [[_item(row) for row in rows.tolist()] for rows in case.seen][: options.users]
    store = StoreSettings(path=options.folder / "store")
    with serving_ranks(store.path) as service, Client(service.address, timeout_s=60) as client:
        for result in client.put_items((Item(_item(row)) for row in range(len(case.rows))), batch=256):
            if result.error is not None:
                raise result.error
        client.import_factors(open_factors(options.folder / "factors"))
    with hold(store.path) as held:
        Builder(held.database, held.index, store).build_now()
    with (
        _interactions(options.folder) as triton,
        serving_ranks(store.path, triton=triton) as service,
        Client(service.address, timeout_s=60) as client,
    ):
        recalls, exact = [], 0
        for user, excluded in zip(users, seen, strict=True):
            found = client.rank_for_user(user, k=K, exclude=excluded)
            truth = client.rank_for_user(user, k=K, exclude=excluded, exact=True)
            recalls.append(len({one.item.id for one in found} & {one.item.id for one in truth}) / K)
            exact += found.exact

        def rank(number: int) -> None:
            client.rank_for_user(users[number], k=K, exclude=seen[number])

        def recommend(number: int) -> None:
            vector = Vector(case.queries[number], "taste", fingerprint)
            client.recommend(vector=vector, k=K, exclude=seen[number])

        ratios = []
        for turn in range(options.rounds):
            by_user, by_vector = (_cpu_s(service.pid, one, range(len(users))) for one in (rank, recommend))
            ratios.append(by_user / by_vector)
            print(f"turn {turn}: {1e3 * by_user:.2f} ms a ranking, {1e3 * by_vector:.2f} a recommendation")

        def rerank(number: int) -> None:
            found = client.rank_for_user(users[number], k=K, exclude=seen[number], rerank=Rerank(candidates=RERANKED))
            if found.reranked_count != RERANKED:
                raise RuntimeError(f"{found.reranked_count} candidates were scored again, not {RERANKED}")

        rerank(0)
        shares = []
        for turn in range(options.rounds):
            server, model = _cpu_with_triton_s(service.pid, rerank, range(len(users)))
            shares.append(model / (server + model))
            print(f"turn {turn}: {1e3 * server:.2f} ms a ranking scored again, and {1e3 * model:.2f} of Triton")
    protocol = f"{case.protocol}; {len(users)} users, k {K}, {exact} of {len(users)} answers exact"
    write(
        "rank_speed",
        [
            Figure("rank.ann_recall_at_10", statistics.fmean(recalls), 0.99, "", "higher", protocol, 0.98),
            Figure(
                "rank.over_recommend", statistics.median(ratios), 1.2, "times", "lower",
                f"{protocol}; processor time of the server, median of {len(ratios)} turns; {machine('twinset')}", 1.5,
            ),
            Figure(
                "rank.rerank_triton_share", statistics.median(shares), None, "", "lower",
                f"{protocol}; the best {RERANKED} scored again; processor time of Triton over that of Triton and "
                f"server, median of {len(shares)} turns; {machine('twinset')}",
            ),
        ],
    )  # fmt: skip


def _write(folder: Path, case: Case) -> str:
    """Write factors that a server imports, whose users are the queries, and return their fingerprint."""
    latent = np.zeros((len(case.rows), case.rows.shape[1] - 1), np.float32)
    return factor_files.write(
        folder,
        item_ids=[_item(row) for row in range(len(case.rows))],
        items=case.rows,
        user_ids=[f"user {number}" for number in range(len(case.queries))],
        users=[case.queries],
        fold_in=FoldIn(latent, latent, latent[0], 1.0),
    ).fingerprint


@contextlib.contextmanager
def _interactions(folder: Path) -> Iterator[str]:
    """Publish an interaction model of the factors, and yield the address of a Triton that serves it.

    What it costs doesn't depend on its weights, so nobody trains them.
    """
    tensorflow_noise.silence()
    dimension = open_factors(folder / "factors").manifest.dimension
    interaction.network(dimension, 1.0).save(folder / "interaction.keras")
    repository = Repository(folder / "models")
    repository.make()
    request = Request(folder / "interaction.keras", folder / "factors", triton=False)
    published, _ = publish(request, repository, ConsoleSteps(Console(stderr=True)))
    with own_triton(repository.root, published.path.name) as (address, _):
        yield address


def _cpu_with_triton_s(pid: int, call: Callable[[int], None], numbers: Sequence[int]) -> tuple[float, float]:
    """Return the processor seconds that the service and those that Triton's processes spend on a call."""

    def spent() -> tuple[float, float]:
        parts = seconds_by_part(os.getpid())
        triton = sum(seconds for name, seconds in parts.items() if name.startswith("triton"))
        return sum(seconds_by_part(pid).values()), triton

    before = spent()
    for number in numbers:
        call(number)
    server, triton = (after - begun for after, begun in zip(spent(), before, strict=True))
    return server / len(numbers), triton / len(numbers)


def _cpu_s(pid: int, call: Callable[[int], None], numbers: Sequence[int]) -> float:
    """Return the processor seconds that the process spends on a call."""
    before = sum(seconds_by_part(pid).values())
    for number in numbers:
        call(number)
    return (sum(seconds_by_part(pid).values()) - before) / len(numbers)


def _item(row: int) -> str:
    return f"item {row:07}"


if __name__ == "__main__":
    main()
