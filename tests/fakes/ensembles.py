"""The tiny model with tiny heads as published ensembles, so that what serves them needs no TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fakes.models import DIMENSION, KNOWN_COUNT, KNOWN_SEED, SIDE, tiny_contract, tiny_onnx
from twinset import head_contract
from twinset.card import read_card
from twinset.contract import Metric, ModelContract, OutputContract, SpaceContract
from twinset.head_contract import INPUT, HeadContract
from twinset.known_answer import KnownAnswer, known_categories, known_input
from twinset_exporter import card, triton_config
from twinset_exporter.export import Result
from twinset_exporter.fingerprint import artifact
from twinset_exporter.heads import fingerprint
from twinset_exporter.heads.chain import Chain
from twinset_exporter.heads.components import Backbone, Component, open_backbone, publish_copy
from twinset_exporter.heads.publication import VERSION_FILE
from twinset_exporter.heads.triton_config import render_ensemble, render_head
from twinset_exporter.repository import CONFIG, MODEL, PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.targets import Target

CATEGORY = 3
KIND = 2
SIDES = 4
TYPES = ("sofa", "lamp")


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


def tiny_pair_head() -> bytes:
    """Return an ONNX model: `features` and `category [N, 1]` to `source` and `target`, `[N, SIDES]`.

    Each is the features times seeded weights, moved by the category's row of a seeded table, of `TYPES` and unknown.
    """
    random = np.random.default_rng(5)
    constants = {"flat": np.array([-1, SIDES], dtype=np.int64)}
    nodes = []
    for side in ("source", "target"):
        constants[f"{side}_weights"] = random.standard_normal((DIMENSION, SIDES), dtype=np.float32)
        constants[f"{side}_table"] = random.standard_normal((len(TYPES) + 1, SIDES), dtype=np.float32)
        nodes += [
            helper.make_node("MatMul", [INPUT, f"{side}_weights"], [f"{side}_seen"]),
            helper.make_node("Gather", [f"{side}_table", head_contract.CATEGORY], [f"{side}_rows"]),
            helper.make_node("Reshape", [f"{side}_rows", "flat"], [f"{side}_moved"]),
            helper.make_node("Add", [f"{side}_seen", f"{side}_moved"], [side]),
        ]
    graph = helper.make_graph(
        nodes,
        "pair",
        [
            helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", DIMENSION]),
            helper.make_tensor_value_info(head_contract.CATEGORY, TensorProto.INT32, ["N", 1]),
        ],
        [helper.make_tensor_value_info(side, TensorProto.FLOAT, ["N", SIDES]) for side in ("source", "target")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def publish_tiny_ensemble(repository: Repository, head_seed: int = 0) -> PublishedModel:
    """Publish the tiny model, the heads `category` and `kind` of a seed, and the ensemble `both` of them.

    `category` fills a Euclidean space, `kind` none.
    """
    backbone = _publish_backbone(repository)
    heads = [
        _publish(repository, backbone, name, tiny_head(name, dimension, head_seed), {name: dimension})
        for name, dimension in (("category", CATEGORY), ("kind", KIND))
    ]
    outputs = {
        "category": OutputContract(heads[0].contract.outputs["category"]),
        "kind": OutputContract(heads[1].contract.outputs["kind"], ("boot", "sandal")),
    }
    spaces = [SpaceContract("category", "category", CATEGORY, Metric.EUCLIDEAN)]
    return _publish_ensemble(repository, "both", backbone, heads, outputs, spaces)


def publish_tiny_pair(repository: Repository) -> PublishedModel:
    """Publish the tiny model, a head `pair` that takes a category among `TYPES`, and the ensemble `paired` of them."""
    backbone = _publish_backbone(repository)
    sides = {"source": SIDES, "target": SIDES}
    head = _publish(repository, backbone, "pair", tiny_pair_head(), sides, TYPES)
    outputs = {side: OutputContract(head.contract.outputs[side], takes_category=True) for side in sides}
    spaces = [SpaceContract(f"pair_{side}", side, SIDES, Metric.EUCLIDEAN) for side in sides]
    return _publish_ensemble(repository, "paired", backbone, [head], outputs, spaces, TYPES)


def _publish_backbone(repository: Repository) -> Backbone:
    repository.make()
    told = tiny_contract()
    config = triton_config.render(told, {"features": DIMENSION, "embedding": DIMENSION}, {})
    files = {CONFIG: config.encode(), MODEL: tiny_onnx()}
    repository.publish(told, card.with_card(told, files, {"target": "cpu"}))
    return open_backbone(Result(told, repository.root / told.model, new=True))


def _publish_ensemble(
    repository: Repository,
    name: str,
    backbone: Backbone,
    heads: Sequence[Component],
    outputs: Mapping[str, OutputContract],
    spaces: Sequence[SpaceContract],
    categories: tuple[str, ...] = (),
) -> PublishedModel:
    below = backbone.contract
    copy = publish_copy(backbone, repository)
    parts = [copy, *heads]
    chain = Chain(backbone.runtime, [Runtime(head.graph, INPUT) for head in heads])
    outputs = {**{output: OutputContract(below.fingerprint) for output in backbone.runtime.dimensions}, **outputs}
    filled = (*below.spaces, *spaces)
    known = known_input(KNOWN_SEED, KNOWN_COUNT, SIDE, SIDE)
    ensemble = ModelContract(
        backbone="tiny",
        fingerprint=fingerprint.of_ensemble(outputs, filled),
        artifact=fingerprint.artifact([below.artifact, *(part.contract.artifact for part in parts)]),
        pipeline=below.pipeline,
        spaces=filled,
        known_answer=KnownAnswer(
            KNOWN_SEED, KNOWN_COUNT, 1e-3, chain.run(known, categories=known_categories(KNOWN_COUNT, categories))
        ),
        name=name,
        outputs=outputs,
        components=(below.model, *(part.contract.model for part in parts)),
        categories=categories,
    )
    config = render_ensemble(
        ensemble, copy.contract, [head.contract for head in heads], chain.dimensions, {}, Target.CPU
    )
    components = {
        name: {"kind": "part", "artifact": told.artifact, "files": card.entries(told.files)}
        for name, told in ((name, read_card(repository.root / name)) for name in ensemble.components)
    }
    files = {CONFIG: config.encode(), VERSION_FILE: b"an ensemble\n"}
    repository.publish(ensemble, card.with_card(ensemble, files, {"components": components}))
    model = repository.model(ensemble.model)
    assert isinstance(model, PublishedModel)
    return model


def _publish(
    repository: Repository,
    backbone: Backbone,
    name: str,
    content: bytes,
    dimensions: Mapping[str, int],
    categories: tuple[str, ...] = (),
) -> Component:
    below = backbone.contract.fingerprint
    outputs = {output: hashlib.sha256(output.encode() + content).hexdigest() for output in dimensions}
    told = HeadContract(name, fingerprint.of_head(below, outputs), artifact(content), below, outputs, categories)
    config = render_head(told, (INPUT, DIMENSION), dimensions, Target.CPU)
    files = {CONFIG: config.encode(), MODEL: content}
    repository.publish(told, card.with_identity(told, files, {"target": "cpu"}))
    return Component("head", told, read_card(repository.root / told.model), content)
