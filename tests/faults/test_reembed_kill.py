"""A server that is killed while it embeds all pictures anew serves one model or the other, whole, and goes on after."""

from __future__ import annotations

import io
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from fakes.models import run_locally, some_pictures, tiny_contract, write_tiny_model
from twinset import Client, Item, Picture
from twinset.v1 import admin_pb2, admin_pb2_grpc

ITEMS = 120
KILLS = 6
PICTURES = some_pictures(ITEMS)
FINGERPRINTS = {tiny_contract(seed).fingerprint: seed for seed in range(2)}
EXPECTED = {seed: run_locally(PICTURES, seed)["embedding"] for seed in range(2)}

pytestmark = pytest.mark.slow


def png(place: int) -> bytes:
    target = io.BytesIO()
    Image.fromarray(PICTURES[place]).save(target, "PNG")
    return target.getvalue()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server of two models; give its process and address."""
    command = [sys.executable, "-m", "twinset_server", "serve", "--port", "0", "--admin-port", "0", "--workers", "2"]
    command += ["--data", str(folder / "data"), "--model-repository", str(folder / "models")]
    command += ["--model", tiny_contract(0).model]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            for line in process.stdout or ():
                if found := re.search(r"twinset serves on (\S+)", line):
                    yield process, found[1]
                    return
            raise RuntimeError((folder / "log").read_text()[-3000:])
        finally:
            process.terminate()
            process.wait(timeout=60)
            if process.stdout:
                process.stdout.close()


@contextmanager
def admin(folder: Path) -> Iterator[admin_pb2_grpc.AdminServiceStub]:
    address = json.loads((folder / "data" / "server.json").read_text())["admin"]
    with grpc.insecure_channel(address) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]


def served(client: Client) -> int:
    """Return which model serves, after every item's vector and an answer proved to be of it alone."""
    items = client.get_items([f"item {place:03}" for place in range(ITEMS)], view="full")
    seeds = set()
    for place in range(ITEMS):
        [vector] = items[f"item {place:03}"].vectors
        seed = FINGERPRINTS[vector.fingerprint or ""]
        np.testing.assert_allclose(vector.values, EXPECTED[seed][place], atol=1e-4)
        seeds.add(seed)
    [seed] = seeds
    found = client.recommend(picture=png(3), k=ITEMS)
    assert (FINGERPRINTS[found.fingerprint], len(found)) == (seed, ITEMS)
    expected = 1 - EXPECTED[seed] @ EXPECTED[seed][3]
    for one in found:
        assert one.distance == pytest.approx(expected[int(one.item.id.split()[1])], abs=1e-3)
    return seed


def test_a_server_killed_while_it_embeds_anew_serves_one_model_and_goes_on(tmp_path: Path) -> None:
    for seed in range(2):
        write_tiny_model(tmp_path / "models", seed)
    moments = random.Random(0)
    other = tiny_contract(1).model
    with serving(tmp_path) as (_, address), Client(address) as client:
        items = (Item(f"item {place:03}", pictures=[Picture(content=png(place))]) for place in range(ITEMS))
        assert all(result.error is None for result in client.put_items(items))
        assert served(client) == 0
    left = [ITEMS]
    for _ in range(KILLS):
        with serving(tmp_path) as (process, address):
            with Client(address) as client:
                assert served(client) == 0 or left[-1] == 0
            with admin(tmp_path) as stub:
                request = admin_pb2.ReembedRequest(model=other, max_pictures_per_second=60)
                stub.Reembed(request, timeout=30)
                time.sleep(moments.uniform(0.3, 1.5))
                left.append(max(one.pending_items for one in stub.ListModels(admin_pb2.ListModelsRequest()).models))
            process.send_signal(signal.SIGKILL)
            process.wait()
    # What was made before a kill is not made again.
    assert left == sorted(left, reverse=True)
    assert left[-1] < ITEMS
    with serving(tmp_path) as (_, address), Client(address) as client, admin(tmp_path) as stub:
        assert served(client) == 0 or left[-1] == 0
        operation = stub.Reembed(admin_pb2.ReembedRequest(model=other), timeout=30).operation
        while not operation.done:
            operation = stub.WaitOperation(admin_pb2.WaitOperationRequest(name=operation.name), timeout=30).operation
        assert not operation.HasField("error"), operation.error
        assert served(client) == 1
        states = {one.name: one.state for one in stub.ListModels(admin_pb2.ListModelsRequest()).models}
        assert states == {
            other: admin_pb2.MODEL_STATE_ACTIVE,
            tiny_contract(0).model: admin_pb2.MODEL_STATE_KEPT,
        }
    # The settings name the model that it replaced: what an operator chose serves.
    with serving(tmp_path) as (_, address), Client(address) as client:
        assert served(client) == 1
