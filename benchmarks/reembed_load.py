"""A change of backbone under load: product photographs embedded anew while callers ask and put, and the way back.

`reembed.failed_calls` counts calls and changes that ended in an error. `reembed.mixed_answers` counts answers whose
distances aren't those between the vectors of the one model that the answer names, which are read from the service
while that model serves, and compared with what `Embed` makes of a sample of the pictures. `rollback_s` is how long the
slowest RollbackModel took, from the call to the end of its operation.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.data import DataOption
from benchmarks.figures import Figure, machine, write
from benchmarks.service import export, serving
from twinset import Client, Item, Picture
from twinset.errors import TwinsetError
from twinset.v1 import admin_pb2, admin_pb2_grpc

REPOSITORY = Path("build/reembed-repository")
K = 10
_TOLERANCE = 5e-3
"""A picture of a query is embedded once more, in a batch of another size."""
_SAMPLE = 32
_LEAST = 0.999
"""Cosine of a stored vector and of what `Embed` makes of the same picture."""

Vectors = dict[str, NDArray[np.float32]]
"""Vectors of one model by item, each `[D]`."""


@dataclass
class Answer:
    """What a caller heard: the item or picture asked for, the model's fingerprint, and each item with its distance."""

    asked: str
    fingerprint: str
    distances: dict[str, float]


@dataclass
class Tally:
    """What callers saw."""

    errors: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    puts: int = 0


def main() -> None:
    """Change the model under load and back again, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = DataOption(parser, "products/images and weights/mobilenet_v2_torchvision_imagenet.keras")
    parser.add_argument("--folder", type=Path, default=Path("build/bench-reembed"), help="where the catalogue is made")
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--puts-per-second", type=float, default=2.0)
    parser.add_argument("--rollbacks", type=int, default=10)
    options = parser.parse_args()
    given = data.required(options)
    pictures = _pictures(given / "products", options.pictures)
    shutil.rmtree(options.folder, ignore_errors=True)
    models = [export("efficientnet_lite0", REPOSITORY), _other(given / "weights")]
    tally, stop = Tally(), threading.Event()
    log = options.folder.with_suffix(".log")
    with (
        serving(repository=REPOSITORY, model=models[0], data=options.folder, log=log) as service,
        Client(service.address, timeout_s=120) as client,
        _Admin(options.folder) as admin,
    ):
        _put(client, pictures)
        vectors = dict([_vectors(client, pictures)])
        threads = [
            threading.Thread(target=_ask, args=(service.address, pictures, tally, stop, seed))
            for seed in range(options.callers)
        ]
        threads.append(
            threading.Thread(target=_change, args=(service.address, pictures, tally, stop, options.puts_per_second))
        )
        for thread in threads:
            thread.start()
        try:
            started = time.monotonic()
            done = _done(admin, admin.Reembed(admin_pb2.ReembedRequest(model=models[1])).operation)
            took_s = time.monotonic() - started
            vectors |= [_vectors(client, pictures)]
            rollbacks = [_rolled_back(admin) for _ in range(options.rollbacks)]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    mixed = [one for one in tally.answers if not _is_of_one_model(one, vectors)]
    for error in [*tally.errors[:3], *mixed[:3]]:
        print(error)
    by_model = Counter(one.fingerprint[:8] for one in tally.answers)
    protocol = (
        f"{len(pictures):,} product photographs from {models[0]} to {models[1]} in {took_s:.0f} s "
        f"({done.switch.picture_count:,} pictures embedded, with those put meanwhile), {options.callers} callers by "
        f"item and by picture, {len(tally.answers):,} answers ({dict(by_model)}), {tally.puts:,} items put at "
        f"{options.puts_per_second:g} a second, {options.rollbacks} ways back; {machine('twinset', 'onnxruntime')}"
    )
    write(
        "reembed_load",
        [
            Figure("reembed.failed_calls", len(tally.errors), 0, "calls", "lower", protocol, 0),
            Figure("reembed.mixed_answers", len(mixed), 0, "answers", "lower", protocol, 0),
            Figure("rollback_s", max(rollbacks), 0.5, "s", "lower", protocol, 1),
        ],
    )


def _pictures(folder: Path, count: int) -> dict[str, bytes]:
    with (folder / "styles.csv").open(newline="", encoding="utf-8") as file:
        ids = [row["id"] for row in itertools.islice(csv.DictReader(file), count)]
    return {item_id: (folder / "images" / f"{item_id}.jpg").read_bytes() for item_id in ids}


def _other(weights: Path) -> str:
    network = str(weights / "mobilenet_v2_torchvision_imagenet.keras")
    return export(network, REPOSITORY, "--name", "mobilenet_v2", "--preprocessing", "torch")


class _Admin:
    """`AdminService` of the server that holds a folder, while the context is open."""

    def __init__(self, folder: Path) -> None:
        address = json.loads((folder / "server.json").read_text())["admin"]
        self._channel = grpc.insecure_channel(address)
        self._stub = admin_pb2_grpc.AdminServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> admin_pb2_grpc.AdminServiceStub:
        return self._stub

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def _done(admin: admin_pb2_grpc.AdminServiceStub, operation: admin_pb2.Operation) -> admin_pb2.Operation:
    """Return the operation once it has ended well."""
    while not operation.done:
        request = admin_pb2.WaitOperationRequest(name=operation.name)
        operation = admin.WaitOperation(request, timeout=30).operation
    if operation.HasField("error"):
        raise SystemExit(f"{operation.name} failed: {operation.error.message}")
    return operation


def _rolled_back(admin: admin_pb2_grpc.AdminServiceStub) -> float:
    """Return the seconds that the way back took, after callers had some time with the model."""
    time.sleep(2)
    start = time.monotonic()
    _done(admin, admin.RollbackModel(admin_pb2.RollbackModelRequest()).operation)
    return time.monotonic() - start


def _put(client: Client, pictures: dict[str, bytes]) -> None:
    items = (Item(item_id, pictures=[Picture(content=content)]) for item_id, content in pictures.items())
    for result in client.put_items(items):
        if result.error is not None:
            raise result.error


def _vectors(client: Client, pictures: dict[str, bytes]) -> tuple[str, Vectors]:
    """Return the fingerprint of the model that serves, and its vectors as stored, a sample compared with `Embed`."""
    found: Vectors = {}
    fingerprints: set[str] = set()
    for ids in _batches(list(pictures), 50):
        for item_id, item in client.get_items(ids, view="full").items():
            [vector] = [one for one in item.vectors if one.space == "visual"]
            found[item_id] = np.asarray(vector.values, np.float32)
            fingerprints.add(vector.fingerprint or "")
    [fingerprint] = fingerprints
    sample = list(pictures)[:: max(1, len(pictures) // _SAMPLE)]
    for item_id, result in zip(sample, client.embed([pictures[one] for one in sample[:_SAMPLE]]), strict=False):
        vector = result["embedding"]
        cosine = float(np.asarray(vector.values, np.float32) @ found[item_id])
        if vector.fingerprint != fingerprint or cosine < _LEAST:
            raise SystemExit(f"item {item_id}: the stored vector isn't that of its picture, cosine {cosine:.4f}")
    return fingerprint, found


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _ask(address: str, pictures: dict[str, bytes], tally: Tally, stop: threading.Event, seed: int) -> None:
    """Ask by items, and by pictures every other time."""
    rng = np.random.default_rng(seed)
    ids = list(pictures)
    with Client(address, timeout_s=60) as client:
        for turn in itertools.count():
            if stop.is_set():
                return
            asked = ids[int(rng.integers(len(ids)))]
            try:
                if turn % 2:
                    found = client.recommend(picture=pictures[asked], k=K)
                else:
                    found = client.recommend(item=asked, k=K)
            except TwinsetError as error:
                tally.errors.append(f"recommend: {error}")
                continue
            distances = {one.item.id: one.distance for one in found}
            tally.answers.append(Answer(asked, found.fingerprint, distances))


def _change(
    address: str, pictures: dict[str, bytes], tally: Tally, stop: threading.Event, puts_per_second: float
) -> None:
    """Put items again and new ones beside them, whose picture is that of the item that their id names."""
    ids = list(pictures)
    with Client(address, timeout_s=60) as client:
        for turn in itertools.count():
            if stop.wait(1 / puts_per_second):
                return
            base = ids[(turn * 17) % len(ids)]
            item_id = f"{base}+{turn}" if turn % 2 else base
            try:
                for result in client.put_items([Item(item_id, pictures=[Picture(content=pictures[base])])]):
                    if result.error is not None:
                        raise result.error
                tally.puts += 1
            except TwinsetError as error:
                tally.errors.append(f"put: {error}")


def _is_of_one_model(answer: Answer, vectors: dict[str, Vectors]) -> bool:
    """Return whether an answer's distances are those between vectors of the model that it names."""
    model = vectors.get(answer.fingerprint)
    if model is None or len(answer.distances) != K:
        return False
    query = model[answer.asked]
    return all(
        abs(distance - (1 - float(query @ model[item_id.partition("+")[0]]))) <= _TOLERANCE
        for item_id, distance in answer.distances.items()
    )


if __name__ == "__main__":
    main()
