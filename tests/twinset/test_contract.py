"""Contracts come back from Triton's parameters as they went in, and what can't be read is never guessed."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fakes.models import tiny_contract
from twinset.contract import ContractError, ModelContract, OutputContract
from twinset.head_contract import HeadContract

HEAD = HeadContract("category", "1" * 64, "2" * 64, "3" * 64, {"category": "4" * 64})


@pytest.fixture
def ensemble() -> ModelContract:
    alone = tiny_contract()
    return dataclasses.replace(
        alone,
        name="shop",
        fingerprint="5" * 64,
        outputs={
            "embedding": OutputContract(alone.fingerprint),
            "features": OutputContract(alone.fingerprint),
            "kind": OutputContract("4" * 64, ("boot", "sandal")),
        },
        components=(alone.model, "kind-44444444"),
    )


def test_a_model_alone_writes_version_1_which_every_release_reads() -> None:
    parameters = tiny_contract().to_parameters()
    assert parameters["twinset.contract"] == "1"
    assert not {"twinset.name", "twinset.outputs", "twinset.components"} & parameters.keys()


def test_every_output_of_a_model_alone_has_its_fingerprint() -> None:
    contract = ModelContract.from_parameters(tiny_contract().to_parameters())
    assert contract.fingerprint_of("embedding") == contract.fingerprint_of("features") == contract.fingerprint


def test_an_ensemble_writes_version_2_which_earlier_releases_refuse(ensemble: ModelContract) -> None:
    assert ensemble.to_parameters()["twinset.contract"] == "2"


def test_an_ensemble_comes_back_whole(ensemble: ModelContract) -> None:
    read = ModelContract.from_parameters(ensemble.to_parameters())
    assert (read.model, read.components, read.outputs) == ("shop-55555555", ensemble.components, ensemble.outputs)
    assert read.fingerprint_of("embedding") == tiny_contract().fingerprint
    assert read.fingerprint_of("kind") == "4" * 64


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("twinset.components", json.dumps(["../elsewhere"]), "'../elsewhere' is no name of a model"),
        ("twinset.components", "7", "malformed"),
        ("twinset.outputs", json.dumps({"kind": {"fingerprint": "4", "classes": []}}), "fingerprint of output 'kind'"),
        ("twinset.outputs", json.dumps({"kind": {}}), "malformed"),
        ("twinset.contract", "3", "version 3, this twinset reads versions 1 and 2"),
    ],
)
def test_a_damaged_ensemble_is_told(ensemble: ModelContract, key: str, value: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        ModelContract.from_parameters({**ensemble.to_parameters(), key: value})


def test_a_head_comes_back_whole() -> None:
    assert HeadContract.from_parameters(HEAD.to_parameters()) == HEAD
    assert HEAD.model == "category-11111111"


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("twinset.head", "2", "version 2, this twinset reads version 1"),
        ("twinset.outputs", "7", "malformed"),
        ("twinset.artifact", "x", "'x' is not 64 hexadecimal digits"),
    ],
)
def test_a_damaged_head_is_told(key: str, value: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        HeadContract.from_parameters({**HEAD.to_parameters(), key: value})
