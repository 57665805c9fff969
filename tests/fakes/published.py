"""Models published by the exporter without a network, so that what works on a repository needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from twinset.contract import Metric, ModelContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer
from twinset_exporter import triton_config
from twinset_exporter.card import with_card
from twinset_exporter.repository import CONFIG, MODEL, Repository

Run = Callable[..., tuple[int, str, str]]
"""Runs `twinset-exporter` with arguments: exit code, stdout and stderr."""


def publish(repository: Repository, backbone: str, **details: Any) -> ModelContract:
    """Publish a model whose fingerprint is made of the first letter of its name; its graph is none."""
    onnx_model = f"stands for the graph of {backbone}".encode()
    contract = ModelContract(
        backbone=backbone,
        fingerprint=f"{backbone[0]}0" * 32,
        artifact="ef" * 32,
        pipeline=PicturePipeline(16, 16),
        spaces=(SpaceContract("visual", "embedding", 4, Metric.COSINE),),
        known_answer=KnownAnswer(1, 2, 0.01, {"embedding": np.eye(2, 4, dtype=np.float32)}),
    )
    config = triton_config.render(contract, {"features": 4, "embedding": 4}, {})
    repository.publish(contract, with_card(contract, {CONFIG: config.encode(), MODEL: onnx_model}, details))
    return contract
