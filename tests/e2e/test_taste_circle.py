"""The weekly circle: interactions out of a server, through a training, back as factors that it ranks by."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fakes.service import FakeService
from fakes.taste import GROUPS, USERS, held_out
from twinset import Client, Interaction, Item
from twinset.cli.app import run as twinset


@pytest.mark.slow
def test_interactions_come_back_as_factors_that_rank(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = held_out()
    acts = [
        Interaction(f"u{user}", f"i{item}", "rate", 5.0)
        for part in (data.train, data.test)
        for user, item in zip(*(places.tolist() for places in part.acts()), strict=True)
    ]
    with FakeService() as service, Client(service.address) as client:

        def told(*arguments: str) -> str:
            assert twinset(["--server", service.address, *arguments]) == 0
            return capsys.readouterr().out

        list(client.put_items(Item(f"i{item}") for item in range(60)))
        list(client.put_interactions(acts))
        assert client.rank_for_user("u0").rung == "popularity"
        through = told("export", "interactions", "-o", "clicks.csv").rsplit(" ", 1)[1].strip()
        columns = ["--columns", "user_id,item_id,weight", "--liked-from", "4"]
        sizes = ["--dimension", "8", "--epochs", "5", "--output", "taste"]
        command = [sys.executable, "-m", "twinset_exporter", "train", "taste", "clicks.csv", *columns, *sizes]
        subprocess.run(command, check=True, capture_output=True)
        assert "generation 1" in told("import-factors", "taste/factors", "--through", through)
        right = []
        for user in range(USERS):
            ranking = client.rank_for_user(f"u{user}", k=1)
            assert (ranking.rung, ranking.factors_generation) == ("stored_factors", 1)
            right.append(int(ranking[0].item.id[1:]) % GROUPS == user % GROUPS)
        # Users of a group like its items: by chance one in four would be right.
        assert np.mean(right) > 0.5
        list(client.put_interactions([Interaction("u0", "i1", "rate", 5.0)]))
        assert client.rank_for_user("u0").rung == "folded_in"
        assert client.rank_for_user("u1").rung == "stored_factors"
