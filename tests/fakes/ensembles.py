"""The tiny model with two tiny heads as a published ensemble, so that what serves it needs no TensorFlow."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fakes.models import DIMENSION, KNOWN_COUNT, KNOWN_SEED, SIDE, tiny_contract, tiny_onnx
from twinset.card import read_card
from twinset.contract import KnownAnswer, Metric, ModelContract, OutputContract, SpaceContract, known_input
from twinset.head_contract import INPUT, HeadContract
from twinset_exporter import card, triton_config
from twinset_exporter.export import Result
from twinset_exporter.fingerprint import artifact
from twinset_exporter.heads import fingerprint
from twinset_exporter.heads.chain import Chain
from twinset_exporter.heads.components import Component, open_backbone, publish_copy
from twinset_exporter.heads.publication import VERSION_FILE
from twinset_exporter.heads.triton_config import render_ensemble, render_head
from twinset_exporter.repository import CONFIG, MODEL, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.targets import Target

CATEGORY = 3
KIND = 2


def tiny_head(output: str, dimension: int, seed: int) -> bytes:
    """Return an ONNX model: `features [N, D]` times seeded weights to `output` `[N, dimension]`."""
    weights = np.random.default_rng(seed).standard_normal((DIMENSION, dimension), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [INPUT, "weights"], [output])],
        output,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", DIMENSION])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish_tiny_ensemble(repository: Repository, head_seed: int = 0) -> PublishedModel:
    """Publish the tiny model, the heads `category` and `kind` of a seed, and the ensemble `both` of them.

    `category` fills a Euclidean space, `kind` none.
    """
    repository.make()
    backbone_contract = tiny_contract()
    config = triton_config.render(backbone_contract, {"features": DIMENSION, "embedding": DIMENSION}, {})
    files = {CONFIG: config.encode(), MODEL: tiny_onnx()}
    repository.publish(backbone_contract, card.with_card(backbone_contract, files, {"target": "cpu"}))
    path = repository.root / backbone_contract.model
    backbone = open_backbone(Result(backbone_contract, path, new=True))
    heads = [
        _publish(repository, backbone_contract, "category", CATEGORY, head_seed),
        _publish(repository, backbone_contract, "kind", KIND, head_seed),
    ]
    copy = publish_copy(backbone, repository)
    parts = [copy, *heads]
    chain = Chain(backbone.runtime, [Runtime(head.graph, INPUT) for head in heads])
    outputs = {name: OutputContract(backbone_contract.fingerprint) for name in backbone.runtime.dimensions}
    outputs["category"] = OutputContract(heads[0].contract.outputs["category"])
    outputs["kind"] = OutputContract(heads[1].contract.outputs["kind"], ("boot", "sandal"))
    spaces = (*backbone_contract.spaces, SpaceContract("category", "category", CATEGORY, Metric.EUCLIDEAN))
    contract = ModelContract(
        backbone="tiny",
        fingerprint=fingerprint.of_ensemble(outputs, spaces),
        artifact=fingerprint.artifact([backbone_contract.artifact, *(part.contract.artifact for part in parts)]),
        pipeline=backbone_contract.pipeline,
        spaces=spaces,
        known_answer=KnownAnswer(
            KNOWN_SEED, KNOWN_COUNT, 1e-3, chain.run(known_input(KNOWN_SEED, KNOWN_COUNT, SIDE, SIDE))
        ),
        name="both",
        outputs=outputs,
        components=(backbone_contract.model, *(part.contract.model for part in parts)),
    )
    config = render_ensemble(
        contract, copy.contract, [head.contract for head in heads], chain.dimensions, {}, Target.CPU
    )
    components = {
        name: {"kind": "part", "artifact": told.artifact, "files": card.entries(told.files)}
        for name, told in ((name, read_card(repository.root / name)) for name in contract.components)
    }
    files = {CONFIG: config.encode(), VERSION_FILE: b"an ensemble\n"}
    repository.publish(contract, card.with_card(contract, files, {"components": components}))
    model = repository.model(contract.model)
    assert isinstance(model, PublishedModel)
    return model


def _publish(repository: Repository, backbone: ModelContract, name: str, dimension: int, seed: int) -> Component:
    content = tiny_head(name, dimension, seed)
    outputs = {name: hashlib.sha256(content).hexdigest()}
    contract = HeadContract(
        name,
        fingerprint.of_head(backbone.fingerprint, outputs),
        artifact(content),
        backbone.fingerprint,
        outputs,
    )
    config = render_head(contract, (INPUT, DIMENSION), {name: dimension}, Target.CPU)
    files = {CONFIG: config.encode(), MODEL: content}
    repository.publish(contract, card.with_identity(contract, files, {"target": "cpu"}))
    return Component("head", contract, read_card(repository.root / contract.model), content)
