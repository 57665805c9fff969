"""Contracts come back from Triton's parameters as they went in, and what can't be read is never guessed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fakes.models import tiny_contract
from twinset.contract import ContractError, Metric, ModelContract, OutputContract, SpaceContract
from twinset.head_contract import HeadContract
from twinset.known_answer import known_categories
from twinset.pair_contract import PairContract

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
            "source": OutputContract("6" * 64, takes_category=True),
            "target": OutputContract("7" * 64, takes_category=True),
        },
        spaces=(
            *alone.spaces,
            SpaceContract("pair_source", "source", 5, Metric.EUCLIDEAN),
            SpaceContract("pair_target", "target", 5, Metric.EUCLIDEAN),
        ),
        categories=("sofa", "lamp"),
        pair=PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02),
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
    assert (read.spaces, read.categories, read.pair) == (ensemble.spaces, ensemble.categories, ensemble.pair)


def test_a_category_has_the_number_of_its_place_and_none_where_it_isn_t_named(ensemble: ModelContract) -> None:
    assert [ensemble.category_index(name) for name in ("", "sofa", "lamp", "rug")] == [0, 1, 2, None]
    assert ensemble.takes_category(["embedding", "target"])
    assert not ensemble.takes_category(["embedding", "features", "kind"])


def test_known_categories_are_unknown_in_turn_with_known_ones_from_the_last_down() -> None:
    rows = known_categories(8, ("sofa", "lamp", "rug"))
    assert (rows.dtype, rows.ravel().tolist()) == (np.int32, [0, 3, 0, 2, 0, 1, 0, 3])
    assert known_categories(3, ()).ravel().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"categories": ()}, "output 'source' takes a category, and the contract names no categories"),
        ({"categories": ("sofa", "sofa")}, "categories must be names, each once"),
        ({"spaces": "pair_source"}, "fills the space pair_source and not pair_target: one side of a pair"),
        ({"spaces": "pair_target"}, "fills the space pair_target and not pair_source: one side of a pair"),
        ({"spaces": ""}, "calibrates a pair, and fills neither"),
        ({"dimension": 4}, r"pair_source has 5 \(euclidean\), pair_target 4 \(euclidean\)"),
        ({"metric": Metric.INNER_PRODUCT}, r"pair_source has 5 \(euclidean\), pair_target 5 \(inner_product\)"),
        ({"both": Metric.COSINE}, "the metric euclidean or inner_product, not cosine"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(
    ensemble: ModelContract, change: dict[str, object], complaint: str
) -> None:
    visual, source, target = ensemble.spaces
    kept = {"pair_source": (visual, source), "pair_target": (visual, target), "": (visual,)}
    match change:
        case {"spaces": str(side)}:
            change = {"spaces": kept[side]}
        case {"both": Metric() as metric}:
            sides = (dataclasses.replace(side, metric=metric) for side in (source, target))
            change = {"spaces": (visual, *sides)}
        case {"dimension": _} | {"metric": _}:
            change = {"spaces": (visual, source, dataclasses.replace(target, **change))}  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=complaint):
        dataclasses.replace(ensemble, **change)  # type: ignore[arg-type]


def test_both_sides_of_a_pair_may_go_without_a_probability(ensemble: ModelContract) -> None:
    assert ModelContract.from_parameters(dataclasses.replace(ensemble, pair=None).to_parameters()).pair is None


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("twinset.components", json.dumps(["../elsewhere"]), "'../elsewhere' is no name of a model"),
        ("twinset.components", "7", "malformed"),
        ("twinset.outputs", json.dumps({"kind": {"fingerprint": "4", "classes": []}}), "fingerprint of output 'kind'"),
        ("twinset.outputs", json.dumps({"kind": {}}), "malformed"),
        ("twinset.pair", "7", "malformed"),
        ("twinset.pair", json.dumps({"offset": 1}), "malformed"),
        (
            "twinset.pair",
            json.dumps({"offset": 0, "scale": 0, "shift": 0, "prior": 0.5, "ece": 0}),
            "scale must be above 0, not 0",
        ),
        ("twinset.categories", "7", "malformed"),
        ("twinset.contract", "3", "version 3, this twinset reads versions 1 and 2"),
    ],
)
def test_a_damaged_ensemble_is_told(ensemble: ModelContract, key: str, value: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        ModelContract.from_parameters({**ensemble.to_parameters(), key: value})


def test_a_head_comes_back_whole() -> None:
    assert HeadContract.from_parameters(HEAD.to_parameters()) == HEAD
    assert HEAD.model == "category-11111111"
    with_categories = dataclasses.replace(HEAD, categories=("sofa", "lamp"))
    assert HeadContract.from_parameters(with_categories.to_parameters()) == with_categories


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
