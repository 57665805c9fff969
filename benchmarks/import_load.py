"""Factors switched under load: two rotated trainings imported one after the other, and back, while callers rank.

A rotation leaves every inner product as it is, so an answer that compares a user of one training with items of another
has scores that no training gives. `import.failed_calls` counts calls that ended in an error, `import.mixed_answers`
those whose scores are wrong or that name no imported training, and `rollback_s` is how long the slowest way back took.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, machine, write
from benchmarks.rank_service import serving_ranks
from twinset import Client, Item
from twinset.errors import TwinsetError
from twinset.factors import FoldIn, Manifest, open_factors
from twinset_exporter.training.taste import factor_files

USERS = 500
LATENT = 32
K = 10
_ROLLBACKS = 20
_TOLERANCE = 1e-3


@dataclass
class Tally:
    """What callers saw."""

    calls: int = 0
    errors: list[str] = field(default_factory=list)
    mixed: int = 0
    named: set[int] = field(default_factory=set)


def main() -> None:
    """Import and switch under load, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-import"), help="where the catalogue is made")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=4)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    items, users = (rng.normal(size=(count, LATENT)) for count in (options.items, USERS))
    turns = [np.linalg.qr(rng.normal(size=(LATENT, LATENT)))[0] for _ in range(2)]
    trainings = [
        _write(options.folder / f"factors-{place}", items @ turn, users @ turn) for place, turn in enumerate(turns)
    ]
    tally, stop = Tally(), threading.Event()
    with serving_ranks(options.folder / "store") as service, Client(service.address, timeout_s=60) as client:
        for result in client.put_items((Item(_item(row)) for row in range(len(items))), batch=256):
            if result.error is not None:
                raise result.error
        client.import_factors(open_factors(options.folder / "factors-0"))
        known = {training.fingerprint for training in trainings}
        callers = [
            threading.Thread(target=_call, args=(service.address, items @ users.T, known, tally, stop, seed))
            for seed in range(options.callers)
        ]
        for caller in callers:
            caller.start()
        try:
            client.import_factors(open_factors(options.folder / "factors-1"))
            client.import_factors(open_factors(options.folder / "factors-0"))
            rollbacks = [_timed(client) for _ in range(_ROLLBACKS)]
        finally:
            stop.set()
            for caller in callers:
                caller.join()
    protocol = (
        f"{options.items:,} items and {USERS} users of {LATENT} + 1 components, {options.callers} callers, "
        f"{tally.calls:,} calls over generations {sorted(tally.named)}; two imports and {_ROLLBACKS} ways back; "
        f"{machine('twinset', 'numpy')}"
    )
    for error in tally.errors[:3]:
        print(error)
    write(
        "import_load",
        [
            Figure("import.failed_calls", len(tally.errors), 0, "calls", "lower", protocol, 0),
            Figure("import.mixed_answers", tally.mixed, 0, "answers", "lower", protocol, 0),
            Figure("rollback_s", max(rollbacks), 0.2, "s", "lower", protocol, 1),
        ],
    )


def _call(
    address: str, scores: NDArray[np.float64], known: set[str], tally: Tally, stop: threading.Event, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    with Client(address, timeout_s=30) as client:
        while not stop.is_set():
            user = int(rng.integers(scores.shape[1]))
            try:
                found = client.rank_for_user(f"user {user}", k=K)
            except TwinsetError as error:
                tally.errors.append(str(error))
                continue
            tally.calls += 1
            tally.named.add(found.factors_generation)
            expected = [scores[int(one.item.id.split()[1]), user] for one in found]
            right = np.allclose([one.score for one in found], expected, atol=_TOLERANCE)
            tally.mixed += not (right and len(found) == K and found.factors_fingerprint in known)


def _write(folder: Path, items: NDArray[np.float64], users: NDArray[np.float64]) -> Manifest:
    of_items, of_users = (rows.astype(np.float32) for rows in (items, users))
    return factor_files.write(
        folder,
        item_ids=[_item(row) for row in range(len(items))],
        items=np.concatenate([of_items, np.zeros((len(items), 1), np.float32)], axis=1),
        user_ids=[f"user {number}" for number in range(len(users))],
        users=[np.concatenate([of_users, np.ones((len(users), 1), np.float32)], axis=1)],
        fold_in=FoldIn(of_items, of_items, of_items[0], 1.0),
    )


def _timed(client: Client) -> float:
    """Return the seconds that the way back took."""
    start = time.monotonic()
    client.activate_factors()
    return time.monotonic() - start


def _item(row: int) -> str:
    return f"item {row:07}"


if __name__ == "__main__":
    main()
