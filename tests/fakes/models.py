"""A tiny model in a repository, as the exporter would write it, so that tests need no TensorFlow."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from twinset import card
from twinset.card import FileDigest
from twinset.contract import INPUT, Metric, ModelContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer, known_input
from twinset_server.domain import Float32Array, UInt8Array

SIDE = 32
DIMENSION = 16
MAX_BATCH_SIZE = 32
KNOWN_SEED = 7
KNOWN_COUNT = 3


@functools.cache
def tiny_onnx(seed: int = 0, side: int = SIDE, dimension: int = DIMENSION) -> bytes:
    """Return an ONNX model: `pictures [N, side, side, 3]` uint8 to `features` and unit-length `embedding` `[N, D]`.

    Pixels are averaged in an 8 x 8 grid, multiplied by seeded weights, and moved by a bias, so that a black picture
    has a length too.
    """
    cell = side // 8
    random = np.random.default_rng(seed)
    constants = {
        "grid": np.array([0, 8, cell, 8, cell, 3], dtype=np.int64),
        "flat": np.array([0, 192], dtype=np.int64),
        "scale": np.float32(1 / 255),
        "weights": random.standard_normal((192, dimension), dtype=np.float32),
        "bias": random.standard_normal(dimension, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", [INPUT], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["numbers", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "grid"], ["cells"]),
        helper.make_node("ReduceMean", ["cells"], ["means"], axes=[2, 4], keepdims=0),
        helper.make_node("Reshape", ["means", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["features"]),
        helper.make_node("ReduceL2", ["features"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Div", ["features", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", side, side, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", dimension])
            for name in ("features", "embedding")
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run_locally(pictures: UInt8Array, seed: int = 0) -> dict[str, Float32Array]:
    """Return what the tiny model of `seed` answers, computed in this process: the oracle of the tests."""
    features, embedding = _session(seed).run(["features", "embedding"], {INPUT: pictures})
    return {"features": features, "embedding": embedding}


@functools.cache
def _session(seed: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(tiny_onnx(seed), options, providers=["CPUExecutionProvider"])


def tiny_contract(seed: int = 0) -> ModelContract:
    """Return the contract of the tiny model of `seed`."""
    sha256 = hashlib.sha256(tiny_onnx(seed)).hexdigest()
    return ModelContract(
        backbone="tiny",
        fingerprint=sha256,
        artifact=sha256,
        pipeline=PicturePipeline(height=SIDE, width=SIDE),
        spaces=(SpaceContract("visual", "embedding", DIMENSION, Metric.COSINE),),
        known_answer=KnownAnswer(
            seed=KNOWN_SEED,
            count=KNOWN_COUNT,
            tolerance=1e-3,
            values=run_locally(known_input(KNOWN_SEED, KNOWN_COUNT, SIDE, SIDE), seed),
        ),
    )


def tiny_config(contract: ModelContract) -> str:
    """Return the `config.pbtxt` of a model of the tiny shape."""
    lines = [
        f'name: "{contract.model}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH_SIZE}",
        f'input [{{ name: "{INPUT}" data_type: TYPE_UINT8 dims: [{SIDE}, {SIDE}, 3] }}]',
        f'output [{{ name: "features" data_type: TYPE_FP32 dims: [{DIMENSION}] }},',
        f'        {{ name: "embedding" data_type: TYPE_FP32 dims: [{DIMENSION}] }}]',
        "dynamic_batching {}",
        "instance_group [{ count: 1 kind: KIND_CPU }]",
    ]
    for key, value in {**contract.to_parameters(), "intra_op_thread_count": "1"}.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{escaped}" }} }}')
    return "\n".join(lines) + "\n"


def write_model(repository: Path, contract: ModelContract, content: bytes) -> str:
    """Write a model into `repository` and return its name. Nothing here checks that contract and content agree."""
    folder = repository / contract.model
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(content)
    (folder / "config.pbtxt").write_text(tiny_config(contract))
    write_card(repository, contract)
    return contract.model


def write_card(repository: Path, contract: ModelContract) -> None:
    """Write the card of a model as its files lie there now."""
    folder = repository / contract.model
    digests = {name: FileDigest.of_file(folder / name) for name in ("config.pbtxt", "1/model.onnx")}
    content = {
        "card": card.VERSION,
        "model": contract.model,
        "fingerprint": contract.fingerprint,
        "artifact": contract.artifact,
        "files": {name: {"sha256": digest.sha256, "bytes": digest.size_bytes} for name, digest in digests.items()},
    }
    (folder / card.CARD).write_text(json.dumps(content))


def write_tiny_model(repository: Path, seed: int = 0) -> str:
    """Write the tiny model of `seed` into `repository` and return its name."""
    return write_model(repository, tiny_contract(seed), tiny_onnx(seed))


def some_pictures(count: int, seed: int = 0) -> UInt8Array:
    """Return `[count, SIDE, SIDE, 3]` uint8 pictures, each of its own colours."""
    random = np.random.default_rng(seed)
    tints = random.integers(0, 200, (count, 1, 1, 3))
    return (tints + random.integers(0, 56, (count, SIDE, SIDE, 3))).astype(np.uint8)
