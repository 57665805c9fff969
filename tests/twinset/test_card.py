"""A card tells the model that was published from every other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.models import tiny_contract, tiny_onnx, write_tiny_model
from twinset.card import Card, CardError, FileDigest, problems, read_card


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / write_tiny_model(tmp_path)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "card.json").read_text())
    change(content)
    (folder / "card.json").write_text(json.dumps(content))


def test_a_model_as_it_was_published_has_no_problems(folder: Path) -> None:
    assert problems(folder, tiny_contract()) == []


def test_a_digest_of_a_file_is_that_of_its_bytes(folder: Path) -> None:
    assert FileDigest.of_file(folder / "1" / "model.onnx") == FileDigest.of(tiny_onnx())


def test_a_truncated_file_is_told_with_both_digests_and_sizes(folder: Path) -> None:
    whole = FileDigest.of(tiny_onnx())
    os.truncate(folder / "1" / "model.onnx", whole.size_bytes - 1)
    cut = FileDigest.of(tiny_onnx()[:-1])
    assert problems(folder, tiny_contract()) == [f"1/model.onnx: SHA-256 is {cut}, its card says {whole}"]


def test_a_missing_file_is_told(folder: Path) -> None:
    (folder / "1" / "model.onnx").unlink()
    assert problems(folder, tiny_contract()) == ["1/model.onnx: No such file or directory"]


@pytest.mark.parametrize("name", ["2/model.onnx", "1/model.onnx.data"])
def test_a_file_that_triton_might_load_and_the_card_doesn_t_know_is_told(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"other weights")
    assert problems(folder, tiny_contract()) == [f"{name}: the card doesn't know this file"]


def test_hidden_files_and_the_card_s_text_are_not_the_model_s(folder: Path) -> None:
    (folder / "card.md").write_text("# tiny")
    (folder / "1" / ".nfs0001").touch()
    assert problems(folder, tiny_contract()) == []


@pytest.mark.parametrize("field", ["model", "fingerprint", "artifact"])
def test_the_card_of_another_model_is_told_with_both(folder: Path, field: str) -> None:
    rewrite(folder, lambda content: content.update({field: "ab" * 32}))
    (problem,) = problems(folder, tiny_contract())
    assert problem.startswith(f"card.json: its {field} is {'ab' * 32}, that of ")
    assert getattr(tiny_contract(), field) in problem


def test_without_a_card_nothing_is_known_of_a_model(folder: Path) -> None:
    (folder / "card.json").unlink()
    (problem,) = problems(folder, tiny_contract())
    assert problem.startswith(f"{folder / 'card.json'} is missing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "no key 'card'"),
        ('{"card": 2}', "version 2, this twinset reads version 1"),
        ('{"card": 1}', "malformed"),
    ],
)
def test_what_is_no_card_says_why_and_where(folder: Path, text: str, reason: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(CardError, match=reason) as caught:
        read_card(folder)
    assert str(folder / "card.json") in str(caught.value)


@pytest.mark.parametrize("name", ["../other/1/model.onnx", "/etc/passwd", "1/../../x", ""])
def test_a_card_can_t_name_files_outside_of_the_model(folder: Path, name: str) -> None:
    rewrite(folder, lambda content: content["files"].update({name: content["files"]["1/model.onnx"]}))
    with pytest.raises(CardError, match="outside of the model's folder"):
        read_card(folder)


def test_a_digest_that_is_none_is_refused(folder: Path) -> None:
    rewrite(folder, lambda content: content["files"]["config.pbtxt"].update(sha256="0" * 63))
    with pytest.raises(CardError, match="no SHA-256"):
        read_card(folder)


def test_sections_of_later_releases_are_kept_and_do_no_harm(folder: Path) -> None:
    rewrite(folder, lambda content: content.update(new_section={"a": 1}))
    assert Card.parse((folder / "card.json").read_bytes()).content["new_section"] == {"a": 1}


def test_a_component_that_could_lie_anywhere_is_refused(folder: Path) -> None:
    rewrite(folder, lambda content: content.update(components={"../other": {"files": {}}}))
    with pytest.raises(CardError, match=r"component '\.\./other' is no name of a model"):
        read_card(folder)
