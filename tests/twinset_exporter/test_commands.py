"""`show`, `diff` and `prove` on models that are published already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.published import Run, publish
from twinset.card import read_card
from twinset_exporter.commands.diff import differences
from twinset_exporter.export import Result
from twinset_exporter.repository import CONFIG, MODEL, Repository


def test_show_prints_the_card_that_lies_beside_the_model(run: Run, lite0: Result) -> None:
    code, out, _ = run("show", lite0.path.name, "--repository", lite0.path.parent)
    assert code == 0
    assert out == (lite0.path / "card.md").read_text()


def test_the_card_of_an_export_tells_its_proof(run: Run, lite0: Result) -> None:
    _, out, _ = run("show", lite0.path.name, "--repository", lite0.path.parent, "--json")
    card = json.loads(out)
    assert card["source"]["weights"]["kind"] == "in the box"
    assert re.fullmatch("[0-9a-f]{64}", card["source"]["weights"]["sha256"])
    assert (card["target"], card["precision"], card["random_weights"]) == ("cpu", "fp32", False)
    assert list(card["parity"]["batches"]) == ["1", "8", "32"]
    for measured in card["parity"]["batches"].values():
        assert measured["pictures"] == 32
        for output in measured["outputs"].values():
            assert output["share"] <= 1e-4
            assert output["smallest_cosine"] >= 0.99999
    assert list(card["speed"]["latency_ms"]) == ["1", "8", "32"]
    assert 20 < card["speed"]["peak_memory_mb"] < 4000
    assert {"python", "twinset", "keras", "tf2onnx", "onnx", "onnxruntime"} <= card["versions"].keys()
    assert list(card["files"]) == [CONFIG, MODEL]


def test_show_of_a_changed_model_fails_and_names_the_file(run: Run, repository: Repository) -> None:
    contract = publish(repository, "a")
    os.truncate(repository.root / contract.model / MODEL, 3)
    code, out, err = run("show", contract.model, "--repository", repository.root)
    assert code == 1
    assert out.startswith(f"# {contract.model}\n")
    assert "is not what was published: 1/model.onnx: SHA-256 is" in err


@pytest.mark.parametrize("command", [("show",), ("prove",), ("diff", "a-a0a0a0a0")])
def test_a_model_that_isn_t_there_is_a_wrong_call(run: Run, repository: Repository, command: tuple[str, ...]) -> None:
    publish(repository, "a")
    code, _, err = run(*command, "x-12345678", "--repository", repository.root)
    assert code == 2
    assert "no model 'x-12345678' in" in err
    assert "it holds a-a0a0a0a0" in err


def test_a_random_model_says_so_in_its_card(run: Run, tiny_model: Callable[[int], Result]) -> None:
    result = tiny_model(3)
    _, out, _ = run("show", result.path.name, "--repository", result.path.parent)
    assert "**Its weights are random: good for measuring speed, useless for likeness.**" in out
    assert "- weights: random, seed 3" in out


def test_diff_tells_what_differs_and_that_vectors_don_t_compare(run: Run, repository: Repository) -> None:
    a = publish(repository, "a", source={"backbone": "x", "weights": {"kind": "file", "sha256": "1" * 8}})
    b = publish(repository, "b", source={"backbone": "x", "weights": {"kind": "file", "sha256": "2" * 8}})
    code, out, _ = run("diff", a.model, b.model, "--repository", repository.root)
    assert code == 0
    assert "their vectors don't compare" in out
    assert re.search(r"source\.weights\.sha256 +11111111 +22222222", out)
    assert re.search(r"files\.1/model\.onnx\.sha256 ", out)
    assert "source.weights.kind" not in out


def test_differences_of_nested_values_are_leaf_by_leaf() -> None:
    a = {"model": "a", "spaces": [{"name": "v"}, {"name": "w"}], "versions": {"onnx": "1"}}
    b = {"model": "b", "spaces": [{"name": "v"}], "versions": {"onnx": "2", "keras": "3"}}
    assert differences(a, b) == [
        ("spaces[1].name", "w", None),
        ("versions.onnx", "1", "2"),
        ("versions.keras", None, "3"),
    ]


def test_prove_passes_what_was_published(run: Run, lite0: Result) -> None:
    code, out, _ = run("prove", lite0.path.name, "--repository", lite0.path.parent)
    assert code == 0
    assert re.search(r"files are those of the card +ok +2 files", out)
    assert re.search(r"ONNX Runtime: known answer +ok +2 pictures", out)
    assert re.search(r"Triton: known answer +ok +2 pictures", out)
    for batch in (1, 8, 32):
        assert re.search(rf"Triton and ONNX Runtime, batch {batch}: embedding +ok", out)


def test_the_proof_through_triton_is_added_to_a_card_that_lacks_it_and_to_no_other(
    run: Run, tiny_model: Callable[[int], Result]
) -> None:
    result = tiny_model(3)
    name, repository = result.path.name, result.path.parent
    before = read_card(result.path)
    assert before.content["triton"] == {"proved": False, "reason": "it was left out, by --no-triton"}
    assert f"`twinset-exporter prove {name} --record` adds it" in (result.path / "card.md").read_text()
    assert run("prove", name, "--repository", repository)[0] == 0
    assert read_card(result.path) == before
    code, out, _ = run("prove", name, "--repository", repository, "--record")
    assert (code, out.splitlines()[-1]) == (0, "The card tells of it now.")
    after = read_card(result.path)
    assert after.content["triton"]["against"] == "onnxruntime"
    assert list(after.content["triton"]["batches"]) == ["1", "8", "32"]
    assert {**after.content, "triton": None} == {**before.content, "triton": None}
    assert after.differences(result.path, result.contract) == []
    assert "Between onnxruntime and Triton 2." in (result.path / "card.md").read_text()
    assert sorted(file.name for file in result.path.iterdir()) == ["1", "card.json", "card.md", "config.pbtxt"]
    _, out, _ = run("prove", name, "--repository", repository, "--record")
    assert out.splitlines()[-1] == "The card tells of Triton already, and stays as it is."
    assert read_card(result.path) == after


def test_prove_fails_on_a_changed_file_and_tries_nothing_else(run: Run, repository: Repository) -> None:
    contract = publish(repository, "a")
    (repository.root / contract.model / MODEL).write_bytes(b"other")
    code, out, err = run("prove", contract.model, "--repository", repository.root)
    assert code == 1
    assert re.search(r"files are those of the card +FAILED +1/model\.onnx", out)
    assert "1 of 1 checks failed" in err


def test_prove_fails_where_the_graph_is_none(run: Run, repository: Repository) -> None:
    contract = publish(repository, "a")
    code, out, _ = run("prove", contract.model, "--repository", repository.root)
    assert code == 1
    assert re.search(r"ONNX Runtime: known answer +FAILED +ONNX Runtime can't load the graph", out)


def test_prove_fails_where_no_triton_answers(run: Run, lite0: Result) -> None:
    options = ("--repository", lite0.path.parent, "--triton-url", "127.0.0.1:1")
    code, out, _ = run("prove", lite0.path.name, *options)
    assert code == 1
    assert re.search(r"Triton +FAILED +the Triton at 127\.0\.0\.1:1 doesn't answer", out)


def test_another_target_needs_a_repository_of_its_own(run: Run, lite0: Result, tmp_path: Path) -> None:
    code, _, err = run("export", "efficientnet_lite0", "--repository", lite0.path.parent, "--target", "gpu")
    assert code == 1
    assert f"{lite0.path} is published for the target cpu" in err


def test_the_worst_parity_stands_for_all_of_it() -> None:
    def card(*shares: float) -> dict[str, object]:
        batches = {
            str(place): {"outputs": {"features": {"share": share, "smallest_cosine": 1 - share}}}
            for place, share in enumerate(shares)
        }
        return {"parity": {"pictures": "mine", "batches": batches}}

    assert differences(card(0.25, 0.5), card(0.25, 0.125)) == [
        ("parity.largest_share", 0.5, 0.25),
        ("parity.smallest_cosine", 0.5, 0.75),
    ]
