"""A caller that turns items' `in_stock` round at a steady rate, in a process of its own, until its input ends.

    python -m benchmarks.flips ADDRESS RATE BEFORE AFTER

BEFORE holds what `in_stock` is at first of the items of `benchmarks.filling`, `[N]`. AFTER gets the changes, `[M, 3]`
int64: the item, its new value, and the sequence of the change. So whoever knows an answer's sequence knows what every
item was then. It prints a line as soon as changes are made.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.filling import item_id
from twinset.v1 import catalog_pb2, catalog_pb2_grpc

PER_MESSAGE = 20
_IN_FLIGHT = 8


class History:
    """What `in_stock` was at any sequence."""

    def __init__(self, first: NDArray[np.bool_], changes: NDArray[np.int64]) -> None:
        """Take what `in_stock` was at first, `[N]`, and the changes since, `[M, 3]`."""
        self._now = first.copy()
        self._changes = changes[np.argsort(changes[:, 2], kind="stable")]
        self._made = 0
        self._sequence = 0

    def at(self, sequence: int) -> NDArray[np.bool_]:
        """Return what it is after change `sequence`, `[N]`; valid until the next call.

        Raises:
            ValueError: it was asked for a later one before.
        """
        if sequence < self._sequence:
            raise ValueError(f"sequence {sequence} comes after {self._sequence}: ask in rising order")
        end = int(np.searchsorted(self._changes[:, 2], sequence, side="right"))
        for item, value, _ in self._changes[self._made : end]:
            self._now[item] = value
        self._made, self._sequence = end, sequence
        return self._now


@contextmanager
def flipping(address: str, first: NDArray[np.bool_], rate: float, folder: Path) -> Iterator[list[NDArray[np.int64]]]:
    """Turn items round while the context is open; its value holds the changes, `[M, 3]`, at its end.

    Raises:
        RuntimeError: a change failed; the process has said which.
    """
    before, after = folder / "in_stock.npy", folder / "changes.npy"
    np.save(before, first)
    command = [sys.executable, "-m", "benchmarks.flips", address, str(rate), str(before), str(after)]
    changes: list[NDArray[np.int64]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        process.stdout.readline()  # the first changes are made
        yield changes
        process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command} ended with status {process.returncode}")
    changes.append(np.load(after))


def flip(address: str, in_stock: NDArray[np.bool_], rate: float, ended: threading.Event) -> NDArray[np.int64]:
    """Turn random items round, `rate` a second, until `ended`; return the changes, `[M, 3]`.

    Raises:
        RuntimeError: one failed.
    """
    chance = np.random.default_rng()
    sent: list[NDArray[np.int64]] = []
    values: list[NDArray[np.int64]] = []
    room = threading.Semaphore(_IN_FLIGHT)

    def requests() -> Iterator[catalog_pb2.UpdateItemsRequest]:
        began = time.monotonic()
        while not ended.wait(max(0.0, began + len(sent) * PER_MESSAGE / rate - time.monotonic())):
            room.acquire()
            items = chance.choice(len(in_stock), PER_MESSAGE, replace=False)
            in_stock[items] ^= True
            sent.append(items)
            request = catalog_pb2.UpdateItemsRequest()
            for item in items:
                update = request.updates.add()
                update.item.id = item_id(int(item))
                update.item.attributes["in_stock"].bool_value = bool(in_stock[item])
                update.update_mask.paths.append("attributes.in_stock")
            values.append(in_stock[items].astype(np.int64))
            yield request

    sequences: list[list[int]] = []
    with grpc.insecure_channel(address) as channel:
        stub = catalog_pb2_grpc.CatalogServiceStub(channel)  # type: ignore[no-untyped-call]
        for response in stub.UpdateItems(requests()):
            room.release()
            for result in response.results:
                if not result.HasField("receipt"):
                    raise RuntimeError(f"{result.id}: {result.error.message}")
            if not sequences:
                print("changing", flush=True)
            sequences.append([result.receipt.sequence for result in response.results])
    return np.stack([np.concatenate(sent), np.concatenate(values), np.concatenate(sequences)], axis=1)


def main() -> None:
    """Turn items round until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("rate", type=float, help="items a second")
    parser.add_argument("before", type=Path, help="array of what in_stock is at first, [N] bool")
    parser.add_argument("after", type=Path, help="gets the changes")
    options = parser.parse_args()
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait).start()
    np.save(options.after, flip(options.address, np.load(options.before), options.rate, ended))


if __name__ == "__main__":
    main()
