"""Pictures into Triton's request, and Triton's reply into checked rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from twinset.contract import CATEGORY, INPUT
from twinset.interaction_contract import ITEM, SCORE, USER
from twinset_server.domain import Float32Array, Int32Array, UInt8Array
from twinset_server.triton.served_model import ServedModel

UNIT_TOLERANCE = 1e-3
"""How far the L2 norm of a unit row may be from 1: float32 rounding of a half-precision model stays well inside."""

_WIRE_TYPE_BYTES = 2
_RAW_INPUT = service_pb2.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_RAW_INPUT_TAG = bytes([_RAW_INPUT << 3 | _WIRE_TYPE_BYTES])


class BadReply(Exception):
    """Triton's reply isn't what the model's contract promises; the message says how."""


def encode_request(
    model: ServedModel,
    pictures: UInt8Array,
    categories: Int32Array,
    outputs: Sequence[str],
    *,
    request_id: str,
    timeout_s: float,
) -> bytes:
    """Return a serialised `ModelInferRequest` for `pictures`, `[N, H, W, 3]` uint8, of `categories`, `[N]` int32.

    A model that takes no categories isn't sent any.
    """
    request = service_pb2.ModelInferRequest(model_name=model.name, id=request_id)
    # Triton heeds it where the model's queue policy allows an override: a request that waited longer is dropped.
    request.parameters["timeout"].int64_param = int(timeout_s * 1e6)
    request.inputs.add(name=INPUT, datatype="UINT8", shape=pictures.shape)
    tensors = [np.ascontiguousarray(pictures)]
    if model.contract.categories:
        request.inputs.add(name=CATEGORY, datatype="INT32", shape=(len(categories), 1))
        tensors.append(np.ascontiguousarray(categories, dtype="<i4"))
    for name in outputs:
        request.outputs.add(name=name)
    return _with_raw(request, tensors)


def _with_raw(request: service_pb2.ModelInferRequest, tensors: Sequence[NDArray[Any]]) -> bytes:
    """Return `request` serialised, with its tensors, in the order of its inputs.

    A message on the wire is the concatenation of its fields, so the tensors are laid behind the small ones as they are:
    one copy, where protobuf would make three.
    """
    raw = [part for values in tensors for part in (_RAW_INPUT_TAG, _varint(values.nbytes), values.data)]
    return b"".join((request.SerializeToString(), *raw))


def encode_pairs(model: str, users: Float32Array, items: Float32Array, *, request_id: str) -> bytes:
    """Return a serialised `ModelInferRequest` for the factors of users and items, `[N, D]` float32 each."""
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for name, rows in ((USER, users), (ITEM, items)):
        request.inputs.add(name=name, datatype="FP32", shape=rows.shape)
    request.outputs.add(name=SCORE)
    return _with_raw(request, [np.ascontiguousarray(rows, dtype="<f4") for rows in (users, items)])


def decode_scores(reply: service_pb2.ModelInferResponse, count: int) -> Float32Array:
    """Return the scores, `[count]` float32, read-only.

    Raises:
        BadReply: they are missing, of another shape or type, or not finite.
    """
    shapes = [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in reply.outputs]
    if shapes != [(SCORE, "FP32", [count, 1])] or [len(raw) for raw in reply.raw_output_contents] != [4 * count]:
        raise BadReply(f"the scores came as {shapes}, expected FP32 {[count, 1]}")
    scores = np.frombuffer(reply.raw_output_contents[0], dtype="<f4")
    if not np.isfinite(scores).all():
        raise BadReply("a score is not finite")
    return scores


def decode_reply(
    model: ServedModel, reply: service_pb2.ModelInferResponse, outputs: Sequence[str], count: int
) -> dict[str, Float32Array]:
    """Return per output `[count, D]` float32, read-only, checked against the contract.

    Raises:
        BadReply: an output is missing, has another shape or type, isn't finite, or has a row that isn't of unit length
            though it fills a cosine space.
    """
    given = dict(zip((tensor.name for tensor in reply.outputs), reply.raw_output_contents, strict=False))
    tensors = {tensor.name: tensor for tensor in reply.outputs}
    rows: dict[str, Float32Array] = {}
    for name in outputs:
        expected = [count, model.outputs[name]]
        content = given.get(name)
        if content is None:
            raise BadReply(f"output {name!r} is missing from the reply")
        tensor = tensors[name]
        if tensor.datatype != "FP32" or list(tensor.shape) != expected or len(content) != 4 * expected[0] * expected[1]:
            raise BadReply(
                f"output {name!r} came as {tensor.datatype} {list(tensor.shape)} in {len(content)} bytes, "
                f"expected FP32 {expected}"
            )
        values = np.frombuffer(content, dtype="<f4").reshape(expected)
        if not np.isfinite(values).all():
            raise BadReply(f"output {name!r} is not finite")
        if name in model.unit_outputs:
            norms = np.sqrt(np.einsum("nd,nd->n", values, values))
            worst = float(np.abs(norms - 1).max())
            if worst > UNIT_TOLERANCE:
                raise BadReply(f"output {name!r} has a row whose length is off by {worst:.3g}, expected unit length")
        rows[name] = values
    return rows


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
