"""A trained taste with its interaction model, through the real Triton: the service's scores are the training's."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from e2e.conftest import Server, Start, exporter
from fakes.taste import held_out
from twinset import Client, FailedPrecondition, Item, Rerank, Unavailable
from twinset.errors import TwinsetError
from twinset.factors import FactorFolder, open_factors
from twinset.ranking import Ranking
from twinset_server.triton.processes import session_processes

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

LOADED_S = 60.0
NOT_YET = ("NO_INTERACTION_MODEL", "INTERACTION_MISMATCH", "EMBEDDER_UNAVAILABLE")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the folders of two trainings of different seeds."""
    folder = tmp_path_factory.mktemp("trained")
    data = held_out()
    acts = [zip(*(places.tolist() for places in part.acts()), strict=True) for part in (data.train, data.test)]
    lines = [f"u{user},i{item}" for part in acts for user, item in part]
    (folder / "clicks.csv").write_text("\n".join(["user_id,item_id", *lines, ""]))
    trainings = [folder / "first", folder / "second"]
    for seed, output in enumerate(trainings):
        sizes = ["--dimension", "8", "--epochs", "5", "--seed", str(seed)]
        exporter("train", "taste", folder / "clicks.csv", "--columns", "user_id,item_id", *sizes, "--output", output)
    return trainings


@pytest.fixture
def models(repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(repository, tmp_path / "models")


@pytest.fixture
def server(start: Start, models: Path, tmp_path: Path) -> Server:
    return start(tmp_path / "data", repository=models)


def test_the_services_scores_are_the_trainings(server: Server, models: Path, trained: list[Path]) -> None:
    first, second = (open_factors(folder / "factors") for folder in trained)
    with Client(server.address, timeout_s=20) as client:
        list(client.put_items(Item(item_id) for item_id in first.items.ids()))
        client.import_factors(first)
        with pytest.raises(FailedPrecondition, match=first.manifest.fingerprint):
            client.rank_for_user("u0", rerank=True)
        # Published while the server runs, as every week's is.
        exporter("publish-interaction", trained[0], "--repository", models, "--no-triton")
        once_loaded(lambda: client.rank_for_user("u0", rerank=True))
        check_scores(client, first, trained[0])

        # Published before its factors are imported, a model is there when they serve.
        before = set(models.iterdir())
        exporter("publish-interaction", trained[1], "--repository", models, "--no-triton")
        (folder,) = set(models.iterdir()) - before
        error = once_refused(lambda: client.rank_for_user("u0", rerank=Rerank(folder.name)), "INTERACTION_MISMATCH")
        assert first.manifest.fingerprint in error.message
        assert second.manifest.fingerprint in error.message
        client.import_factors(second)
        check_scores(client, second, trained[1])
        # The model of the factors before is still there to go back to.
        client.activate_factors()
        check_scores(client, first, trained[0])

        kill_triton(server)
        began = time.monotonic()
        # Triton embeds again a moment before the models that rank are loaded, and the client tries again by itself.
        with pytest.raises((Unavailable, FailedPrecondition)):
            while True:  # a call may be answered by what was killed a moment ago
                client.rank_for_user("u0", rerank=True)
        assert client.rank_for_user("u0").rung == "stored_factors"
        assert time.monotonic() - began < LOADED_S
        once_loaded(lambda: client.rank_for_user("u0", rerank=True))
        check_scores(client, first, trained[0])


def check_scores(client: Client, factors: FactorFolder, training: Path) -> None:
    """Hold the scores of some users and all items against those of Keras."""
    network = keras.saving.load_model(training / "interaction.keras", compile=False)
    ids, items = list(factors.items.ids()), factors.items.values
    place = {item_id: row for row, item_id in enumerate(ids)}
    for user_id, user in list(zip(factors.users.ids(), factors.users.values, strict=True))[::20]:
        users = np.broadcast_to(user, items.shape)
        expected = network.predict({"user": users, "item": items}, verbose=0).ravel()
        for candidates in (None, ids):
            ranking = client.rank_for_user(user_id, candidates, k=len(ids), rerank=Rerank(), explain=True)
            assert (ranking.rung, ranking.reranked_count) == ("stored_factors", len(ids))
            found = np.array([one.score for one in ranking])
            rows = [place[one.item.id] for one in ranking]
            np.testing.assert_allclose(found, expected[rows], atol=1e-3)
            np.testing.assert_allclose([one.taste for one in ranking], items[rows] @ user, atol=1e-4)
            assert sorted(found, reverse=True) == found.tolist()


def once_loaded(ask: Callable[[], Ranking]) -> Ranking:
    """Return the answer once the model is there."""
    ends = time.monotonic() + LOADED_S
    while True:
        try:
            return ask()
        except TwinsetError as error:
            if time.monotonic() > ends or error.reason not in NOT_YET:
                raise
            time.sleep(0.2)


def once_refused(ask: Callable[[], Ranking], reason: str) -> TwinsetError:
    """Return the error once it has this reason."""
    ends = time.monotonic() + LOADED_S
    while time.monotonic() < ends:
        with pytest.raises(FailedPrecondition) as caught:
            ask()
        if caught.value.reason == reason:
            return caught.value
        time.sleep(0.2)
    raise AssertionError(f"never {reason}")


def kill_triton(server: Server) -> None:
    """End the server's tritonserver as the kernel does when memory is short."""
    for children in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            if b"tritonserver" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
                assert session_processes(child)
                os.kill(child, signal.SIGKILL)
                return
    raise AssertionError("no tritonserver among the server's children")
