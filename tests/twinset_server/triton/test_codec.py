"""Requests are plain protobuf, and no wrong reply passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from fakes.models import DIMENSION, MAX_BATCH_SIZE, run_locally, some_pictures, tiny_contract
from twinset_server.triton.codec import BadReply, decode_reply, encode_request
from twinset_server.triton.served_model import ServedModel

MODEL = ServedModel("tiny", tiny_contract(), {"features": DIMENSION, "embedding": DIMENSION}, MAX_BATCH_SIZE)


def unknown(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)


def reply_to(count: int) -> Any:
    reply = service_pb2.ModelInferResponse(id="1")
    for name, values in run_locally(some_pictures(count)).items():
        reply.outputs.add(name=name, datatype="FP32", shape=values.shape)
        reply.raw_output_contents.append(values.tobytes())
    return reply


@pytest.mark.parametrize("count", [1, 2, 17])
def test_a_request_is_what_protobuf_would_have_written(count: int) -> None:
    pictures = some_pictures(count)
    encoded = encode_request(MODEL, pictures, unknown(count), ["embedding"], request_id="7", timeout_s=1.5)
    expected = service_pb2.ModelInferRequest(model_name="tiny", id="7", raw_input_contents=[pictures.tobytes()])
    expected.parameters["timeout"].int64_param = 1_500_000
    expected.inputs.add(name="pictures", datatype="UINT8", shape=[count, 32, 32, 3])
    expected.outputs.add(name="embedding")
    assert encoded == expected.SerializeToString()


def test_pictures_that_do_not_lie_in_one_piece_are_sent_in_order() -> None:
    pictures = some_pictures(4)[::-1]
    request = service_pb2.ModelInferRequest.FromString(
        encode_request(MODEL, pictures, unknown(4), ["embedding"], request_id="7", timeout_s=1)
    )
    assert request.raw_input_contents[0] == pictures.tobytes()


def test_categories_go_behind_the_pictures_to_a_model_that_takes_them() -> None:
    contract = dataclasses.replace(tiny_contract(), categories=("sofa", "lamp"))
    model = dataclasses.replace(MODEL, contract=contract)
    categories = np.array([0, 9, 2, 9, 1], np.int32)[::2]
    encoded = encode_request(model, some_pictures(3), categories, ["embedding"], request_id="7", timeout_s=1)
    request = service_pb2.ModelInferRequest.FromString(encoded)
    assert [(given.name, given.datatype, list(given.shape)) for given in request.inputs] == [
        ("pictures", "UINT8", [3, 32, 32, 3]),
        ("item_category", "INT32", [3, 1]),
    ]
    assert list(request.raw_input_contents) == [
        some_pictures(3).tobytes(),
        b"\x00\0\0\0\x02\0\0\0\x01\0\0\0",
    ]


def test_a_right_reply_becomes_its_rows() -> None:
    rows = decode_reply(MODEL, reply_to(3), ["embedding", "features"], 3)
    expected = run_locally(some_pictures(3))
    assert list(rows) == ["embedding", "features"]
    for name, values in rows.items():
        np.testing.assert_array_equal(values, expected[name])


def lacks_an_output(reply: Any) -> None:
    del reply.outputs[1]
    del reply.raw_output_contents[1]


def has_a_row_too_few(reply: Any) -> None:
    reply.outputs[1].shape[0] -= 1
    reply.raw_output_contents[1] = reply.raw_output_contents[1][: -4 * DIMENSION]


def has_another_type(reply: Any) -> None:
    reply.outputs[1].datatype = "FP64"


def is_empty(reply: Any) -> None:
    reply.raw_output_contents[1] = b""


def has_a_nan(reply: Any) -> None:
    change(reply, 1, lambda values: values.__setitem__((0, 0), np.nan))


def is_not_of_unit_length(reply: Any) -> None:
    change(reply, 1, lambda values: values.__imul__(1.01))


def has_one_value_repeated(reply: Any) -> None:
    change(reply, 1, lambda values: values.fill(values[0, 0]))


def has_an_infinite_feature(reply: Any) -> None:
    change(reply, 0, lambda values: values.__setitem__((0, 0), np.inf))


def change(reply: Any, place: int, how: Callable[[Any], object]) -> None:
    values = np.frombuffer(reply.raw_output_contents[place], "<f4").reshape(-1, DIMENSION).copy()
    how(values)
    reply.raw_output_contents[place] = values.tobytes()


WRONGS = [
    lacks_an_output,
    has_a_row_too_few,
    has_another_type,
    is_empty,
    has_a_nan,
    is_not_of_unit_length,
    has_one_value_repeated,
    has_an_infinite_feature,
]


@pytest.mark.parametrize("spoil", WRONGS, ids=lambda spoil: spoil.__name__)
def test_a_reply_is_refused_that(spoil: Callable[[Any], None]) -> None:
    reply = reply_to(3)
    spoil(reply)
    with pytest.raises(BadReply, match=r"output '(embedding|features)'"):
        decode_reply(MODEL, reply, ["features", "embedding"], 3)


def test_features_need_not_have_unit_length() -> None:
    reply = reply_to(2)
    change(reply, 0, lambda values: values.__imul__(3))
    decode_reply(MODEL, reply, ["features"], 2)
