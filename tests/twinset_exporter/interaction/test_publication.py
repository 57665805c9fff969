"""Interaction models: published after they proved to be what Keras computes, proved again, and refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fakes.published import Run
from fakes.steps import RecordedSteps
from twinset.card import problems
from twinset.contract import ContractError
from twinset.factors import FoldIn, open_factors
from twinset.interaction_contract import SCORE, InteractionContract, known_factors
from twinset_exporter.errors import UsageError
from twinset_exporter.interaction.comparison import sample
from twinset_exporter.interaction.publication import Request, publish
from twinset_exporter.interaction.runtime import InteractionRuntime
from twinset_exporter.repository import CONFIG, MODEL, BrokenModel, PublishedInteraction, Repository
from twinset_exporter.training.taste import factor_files, interaction

RNG = np.random.default_rng(0)
ITEMS, USERS = (RNG.normal(size=(rows, 5)).astype(np.float32) for rows in (7, 3))


@dataclass
class Trained:
    folder: Path
    network: keras.Model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    keras.utils.set_random_seed(1)
    network = interaction.network(5, 0.25)
    for weight in network.weights:
        weight.assign(RNG.normal(size=weight.shape))
    network.save(folder / "interaction.keras")
    write_factors(folder / "factors")
    return Trained(folder, network)


def write_factors(folder: Path) -> None:
    fold_in = FoldIn(ITEMS[:, :-1], ITEMS[:, :-1], ITEMS[0, :-1], 0.25)
    factor_files.write(
        folder, item_ids=tuple("abcdefg"), items=ITEMS, user_ids=tuple("xyz"), users=[USERS], fold_in=fold_in
    )


@pytest.fixture(scope="module")
def once(trained: Trained) -> Path:
    repository = Repository(trained.folder / "models")
    repository.make()
    return publish(request(trained), repository, RecordedSteps())[0].path


@pytest.fixture
def published(once: Path, repository: Repository) -> PublishedInteraction:
    """A copy, for a test to spoil."""
    shutil.copytree(once, repository.root / once.name)
    found = repository.model(once.name)
    assert isinstance(found, PublishedInteraction)
    return found


def request(trained: Trained) -> Request:
    return Request(trained.folder / "interaction.keras", trained.folder / "factors", triton=False)


def test_the_graph_scores_as_keras_does(trained: Trained, published: PublishedInteraction) -> None:
    users, items = sample(USERS, ITEMS, count=100)
    expected = trained.network.predict({"user": users, "item": items}, verbose=0).ravel()
    runtime = InteractionRuntime((published.path / MODEL).read_bytes())
    np.testing.assert_allclose(runtime.scores(users, items, 64), expected, atol=1e-4)


def test_what_is_published_carries_its_contract(trained: Trained, published: PublishedInteraction) -> None:
    contract = published.contract
    assert contract.factors == open_factors(trained.folder / "factors").manifest.fingerprint
    assert published.path.name == f"interaction-{contract.fingerprint[:8]}"
    assert problems(published.path, contract) == []
    known = contract.known_answer
    runtime = InteractionRuntime((published.path / MODEL).read_bytes())
    scores = runtime.scores(*known_factors(known.seed, known.count, 5), 8)
    np.testing.assert_allclose(known.values[SCORE].ravel(), scores, rtol=1e-6)
    config = (published.path / CONFIG).read_text()
    assert "max_batch_size: 4096" in config
    card = json.loads((published.path / "card.json").read_text())
    assert set(card["parity"]["batches"]) == {"1", "32", "4096"}
    assert card["interaction"]["factors"] == contract.factors


def test_the_same_again_is_nothing_new(
    trained: Trained, repository: Repository, published: PublishedInteraction
) -> None:
    again, new = publish(request(trained), repository, RecordedSteps())
    assert not new
    assert again.path == published.path


def test_a_contract_comes_back_from_its_parameters(published: PublishedInteraction) -> None:
    parameters = published.contract.to_parameters()
    assert InteractionContract.from_parameters(parameters).to_parameters() == parameters
    for key in parameters:
        with pytest.raises(ContractError):
            InteractionContract.from_parameters({**parameters, key: "?"} if key != "twinset.name" else {})


def test_known_factors_depend_on_their_arguments_alone() -> None:
    users, items = known_factors(0, 2, 3)
    assert users.shape == items.shape == (2, 3)
    np.testing.assert_allclose(users[0], [-0.09019608, 0.31764707, 0.43529412], rtol=1e-6)
    assert (known_factors(1, 2, 3)[0] != users).any()


def test_a_network_of_other_inputs_is_refused(trained: Trained, repository: Repository, tmp_path: Path) -> None:
    given = keras.Input((5,), name="user")
    keras.Model(given, layers.Dense(1)(given)).save(tmp_path / "one.keras")
    interaction.network(4, 1.0).save(tmp_path / "narrow.keras")
    for name in ("one", "narrow"):
        wrong = Request(tmp_path / f"{name}.keras", trained.folder / "factors", triton=False)
        with pytest.raises(UsageError, match=r"expected user and item, \(None, 5\) each"):
            publish(wrong, repository, RecordedSteps())
    assert repository.models() == []


def test_damaged_factors_are_refused(trained: Trained, repository: Repository, tmp_path: Path) -> None:
    write_factors(tmp_path / "factors")
    (tmp_path / "factors" / "items.txt").write_text("a\n")
    with pytest.raises(UsageError, match=r"items\.txt: SHA-256"):
        publish(Request(trained.folder / "interaction.keras", tmp_path / "factors"), repository, RecordedSteps())


def test_prove_finds_an_edited_graph(run: Run, published: PublishedInteraction) -> None:
    options = (published.path.name, "--repository", published.path.parent, "--triton-url", "localhost:1")
    code, out, _ = run("prove", *options)
    assert re.search("ONNX Runtime: known answer +ok", out)
    graph = published.path / MODEL
    graph.write_bytes(graph.read_bytes() + b" ")
    code, out, _ = run("prove", *options)
    assert code == 1
    assert "1/model.onnx: SHA-256" in out


def test_models_and_show_tell_whose_factors_it_ranks_by(run: Run, published: PublishedInteraction) -> None:
    where = ("--repository", published.path.parent)
    assert f"ranks by factors {published.contract.factors[:8]}" in run("models", *where)[1]
    assert f"- factors: {published.contract.factors}" in run("show", published.path.name, *where)[1]


def test_prune_removes_it_only_by_its_name(run: Run, published: PublishedInteraction) -> None:
    where = ("--repository", published.path.parent, "--keep", published.path.name)
    assert "kept" in run("prune", *where, "--yes")[1]
    assert published.path.exists()


def test_a_renamed_folder_is_broken(published: PublishedInteraction, repository: Repository) -> None:
    published.path.rename(published.path.with_name("interaction-00000000"))
    (found,) = repository.models()
    assert isinstance(found, BrokenModel)
    assert "the folder was renamed" in found.reason
