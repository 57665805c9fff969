"""Rankings asked for by a client and on the command line, against the real gRPC server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.factors import written
from fakes.interactions import interaction_contract
from fakes.service import FakeService
from twinset import Act, Client, FailedPrecondition, Interaction, InvalidArgument, Item, Rerank, Unavailable
from twinset.cli.app import run
from twinset.factors import FactorFolder, open_factors


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address, timeout_s=10) as client:
        yield client


@pytest.fixture
def folder(client: Client, tmp_path: Path) -> FactorFolder:
    written(tmp_path / "factors")
    folder = open_factors(tmp_path / "factors")
    list(client.put_items([Item(item_id, title=item_id.upper()) for item_id in folder.items.ids()]))
    client.import_factors(folder)
    return folder


def test_a_user_is_ranked_for_and_the_answer_names_its_generation(client: Client, folder: FactorFolder) -> None:
    ranking = client.rank_for_user("u1", k=3, view="basic", explain=True)
    scores = folder.items.values.astype(np.float64) @ folder.users.values[1].astype(np.float64)
    best = np.argsort(-scores)[:3]
    assert [one.item.id for one in ranking] == [f"i{place}" for place in best]
    assert [one.score for one in ranking] == pytest.approx(scores[best])
    assert (ranking[0].basis, ranking[0].taste, ranking[0].visual) == ("factors", ranking[0].score, None)
    assert ranking[0].item.title == ranking[0].item.id.upper()
    assert (ranking.rung, ranking.exact) == ("stored_factors", True)
    assert (ranking.factors_fingerprint, ranking.factors_generation) == (folder.manifest.fingerprint, 1)
    assert ranking.sequence == client.catalog().sequence
    assert len(ranking.recommendation_id) == 32
    assert len(client.rank_for_user("u1", k=1)) == 1


def test_a_history_is_ranked_for_without_its_items(client: Client, folder: FactorFolder) -> None:
    history = [Act("i1"), Act("i2", "dislike"), Act("i3", "buy", 2.0)]
    ranking = client.rank_for_user(history, ["i0", "i1", "i2", "i3"], exclude_seen=["buy", "dislike"], explain=True)
    user = folder.fold_in.factors(np.array([1, 3]), np.array([2]))
    assert ranking.rung == "folded_in"
    assert {one.item.id: one.taste for one in ranking} == {
        item: pytest.approx(float(folder.items.values[int(item[1])].astype(np.float64) @ user)) for item in ("i0", "i1")
    }
    list(client.put_interactions([Interaction("new", "i1", "like", recommendation_id=ranking.recommendation_id)]))
    assert client.rank_for_user("new").rung == "folded_in"


def test_the_best_are_scored_again_where_that_is_asked_for(
    service: FakeService, client: Client, folder: FactorFolder
) -> None:
    with pytest.raises(FailedPrecondition, match=folder.manifest.fingerprint) as caught:
        client.rank_for_user("u1", rerank=True)
    assert caught.value.reason == "NO_INTERACTION_MODEL"
    service.interactions.serve([interaction_contract("e" * 64)])
    with pytest.raises(FailedPrecondition, match=f"{'e' * 64}.*{folder.manifest.fingerprint}") as caught:
        client.rank_for_user("u1", rerank=True)
    assert caught.value.reason == "INTERACTION_MISMATCH"
    contract = interaction_contract(folder.manifest.fingerprint)
    service.interactions.serve([contract])
    plain = client.rank_for_user("u1", explain=True)
    again = client.rank_for_user("u1", explain=True, rerank=Rerank(contract.model, 3))
    assert [one.item.id for one in again] == [plain[place].item.id for place in (2, 1, 0, 3, 4, 5)]
    assert (again.rerank_model, again.reranked_count) == (contract.model, 3)
    assert (plain.rerank_model, plain.reranked_count) == ("", 0)
    assert again[0].rerank == again[0].score
    assert again[0].taste == plain[2].taste
    assert (again[3].rerank, plain[0].rerank) == (None, None)
    service.interactions.down = True
    with pytest.raises(Unavailable) as away:
        client.rank_for_user("u1", rerank=True)
    assert away.value.retry_after_s


def test_bad_requests_name_their_field(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="visual_weight"):
        client.rank_for_user("u", visual_weight=2)
    with pytest.raises(InvalidArgument, match="filter"):
        client.rank_for_user("u", filter="=")
    with pytest.raises(ValueError, match="choose one"):
        client.rank_for_user("u", exact=True, target_recall=0.9)


@pytest.mark.usefixtures("folder")
def test_the_command_prints_a_ranking(service: FakeService, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    order = [one.item.id for one in client.rank_for_user("u1", k=2)]
    assert run(["--server", service.address, "rank", "u1", "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:2]] == order
    assert "stored_factors" in lines[-1]
    assert run(["--server", service.address, "rank", "--history", "i1,i2", "--candidates", "i3,i4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["id"] for one in told["items"]} == {"i3", "i4"}
    assert told["rung"] == "folded_in"
    # What somebody did isn't shown to them again, unless that is asked for.
    for options, left_out in (([], {"i1", "i2"}), (["--unseen", ""], set()), (["--unseen", "buy"], set())):
        assert run(["--server", service.address, "rank", "--history", "i1,i2", "--json", *options]) == 0
        items = json.loads(capsys.readouterr().out)["items"]
        assert {f"i{number}" for number in range(6)} - {one["id"] for one in items} == left_out
    assert run(["--server", service.address, "rank"]) != 0
    assert "--history" in capsys.readouterr().err


def test_the_command_tells_who_scored_again(
    service: FakeService, folder: FactorFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = interaction_contract(folder.manifest.fingerprint)
    service.interactions.serve([contract])
    for options, count in (["--rerank"], 6), (["--rerank-candidates", "4"], 4), (["--rerank-model", contract.model], 6):
        assert run(["--server", service.address, "rank", "u1", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert "factors (rerank " in lines[0]
        assert f"{count} scored again by {contract.model}" in lines[-1]
    assert run(["--server", service.address, "rank", "u1", "--rerank", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rerank_model"], told["reranked_count"]) == (contract.model, 6)
    assert told["items"][0]["rerank"] == told["items"][0]["score"]
