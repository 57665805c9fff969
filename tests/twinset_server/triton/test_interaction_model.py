"""A model that ranks by factors is read whole, and never mistaken for one that embeds pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from fakes.models import write_tiny_model
from twinset.contract import ContractError
from twinset.interaction_contract import InteractionContract
from twinset.known_answer import KnownAnswer
from twinset_exporter.interaction import triton_config
from twinset_exporter.targets import Target
from twinset_server.triton.codec import BadReply, decode_scores, encode_pairs
from twinset_server.triton.interaction_model import read_interaction
from twinset_server.triton.served_model import NoEmbedder, list_models, read_model

CONTRACT = InteractionContract(
    "interaction", "a0" * 32, "b0" * 32, "c0" * 32, 3, KnownAnswer(0, 2, 0.01, {"score": np.ones((2, 1), np.float32)})
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / CONTRACT.model
    path.mkdir()
    (path / "config.pbtxt").write_text(triton_config.render(CONTRACT, Target.CPU))
    return path


def test_it_is_read_with_its_contract_and_size(folder: Path) -> None:
    found = read_interaction(folder)
    assert found is not None
    assert (found.name, found.max_batch_size) == (CONTRACT.model, 4096)
    assert found.contract.factors == CONTRACT.factors


def test_it_embeds_no_pictures(folder: Path) -> None:
    with pytest.raises(NoEmbedder, match="ranks by factors"):
        read_model(folder)
    name = write_tiny_model(folder.parent)
    assert list(list_models(folder.parent)[0]) == [name]


def test_another_model_is_none(tmp_path: Path) -> None:
    assert read_interaction(tmp_path / write_tiny_model(tmp_path)) is None
    assert read_interaction(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("max_batch_size: 4096", "max_batch_size: 0", "max_batch_size is 0"),
        ('name: "user"\n  data_type: TYPE_FP32', 'name: "user"\n  data_type: TYPE_INT32', "the inputs must be 'user'"),
        (
            'name: "score"\n  data_type: TYPE_FP32\n  dims: 1',
            'name: "score"\n  data_type: TYPE_FP32\n  dims: 2',
            "output",
        ),
        ('string_value: "3"', 'string_value: "4"', r"dims \[4\]"),
    ],
)
def test_a_broken_config_names_file_and_fault(folder: Path, old: str, new: str, complaint: str) -> None:
    path = folder / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ContractError, match=complaint) as caught:
        read_interaction(folder)
    assert str(path) in str(caught.value)


def test_pairs_travel_as_they_are() -> None:
    users, items = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
    request = service_pb2.ModelInferRequest.FromString(encode_pairs("m", users, items, request_id="7"))
    assert [(tensor.name, list(tensor.shape)) for tensor in request.inputs] == [("user", [2, 3]), ("item", [2, 3])]
    np.testing.assert_array_equal(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(2, 3), users)


def reply(values: list[float], shape: list[int]) -> service_pb2.ModelInferResponse:
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="score", datatype="FP32", shape=shape)
    answer.raw_output_contents.append(np.array(values, "<f4").tobytes())
    return answer


def test_scores_are_checked() -> None:
    np.testing.assert_array_equal(decode_scores(reply([1, 2], [2, 1]), 2), [1, 2])
    for wrong, complaint in (
        (reply([1], [1, 1]), "expected FP32"),
        (reply([1], [2, 1]), "expected FP32"),
        (reply([1, float("nan")], [2, 1]), "not finite"),
    ):
        with pytest.raises(BadReply, match=complaint):
            decode_scores(wrong, 2)
