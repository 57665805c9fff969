"""A model's config is read whole, and a broken one says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.models import DIMENSION, MAX_BATCH_SIZE, tiny_contract, write_tiny_model
from twinset.contract import ContractError
from twinset_server.triton.served_model import list_models, read_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / write_tiny_model(tmp_path)


def replace(folder: Path, old: str, new: str) -> None:
    config = folder / "config.pbtxt"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def test_a_model_is_read_with_its_contract_and_sizes(folder: Path) -> None:
    model = read_model(folder)
    assert model.name == folder.name
    assert model.contract.fingerprint == tiny_contract().fingerprint
    assert model.outputs == {"features": DIMENSION, "embedding": DIMENSION}
    assert model.max_batch_size == MAX_BATCH_SIZE
    assert model.unit_outputs == {"embedding"}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("twinset.contract", "other.contract", "no parameter twinset.contract"),
        (f"max_batch_size: {MAX_BATCH_SIZE}", "max_batch_size: 0", "max_batch_size is 0"),
        ("TYPE_UINT8", "TYPE_FP32", "the input must be 'pictures', TYPE_UINT8"),
        ("dims: [32, 32, 3]", "dims: [32, 16, 3]", r"dims \[32, 32, 3\]"),
        ('output [{ name: "features"', 'output [{ name: "other"', r"lacks: \['features'\]"),
        (
            f'"embedding" data_type: TYPE_FP32 dims: [{DIMENSION}]',
            '"embedding" data_type: TYPE_FP32 dims: [8]',
            "visual",
        ),
        ("TYPE_FP32 dims: [16] },", "TYPE_FP32 dims: [-1] },", "one fixed dimension"),
        ('name: "tiny', 'name: "tony', "they must agree"),
        ("dynamic_batching {}", "dynamic_batching {", "config.pbtxt"),
    ],
)
def test_a_broken_config_is_an_error_that_names_file_and_fault(
    folder: Path, old: str, new: str, complaint: str
) -> None:
    replace(folder, old, new)
    with pytest.raises(ContractError, match=complaint) as caught:
        read_model(folder)
    assert str(folder / "config.pbtxt") in str(caught.value)


def test_a_config_without_a_name_takes_its_folders(folder: Path) -> None:
    replace(folder, f'name: "{folder.name}"', "")
    assert read_model(folder).name == folder.name


def test_a_repository_is_listed_with_what_is_broken_in_it(tmp_path: Path) -> None:
    names = [write_tiny_model(tmp_path, seed) for seed in (0, 1, 2)]
    replace(tmp_path / names[1], "twinset.contract", "other.contract")
    (tmp_path / "no model").mkdir()
    (tmp_path / names[2]).rename(tmp_path / f".{names[2]}")
    models, broken = list_models(tmp_path)
    assert list(models) == [names[0]]
    assert [names[1] in str(problem) for problem in broken] == [True]


def test_a_repository_that_is_not_there_holds_no_models(tmp_path: Path) -> None:
    assert list_models(tmp_path / "nowhere") == ({}, [])
