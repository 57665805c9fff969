"""An embedder without Triton: the colours of a picture are its features."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from twinset.contract import KnownAnswer, Metric, ModelContract, OutputContract, SpaceContract, known_input
from twinset.images import PicturePipeline
from twinset_server.domain import Float32Array, UInt8Array
from twinset_server.errors import DeadlineExceeded, EmbedderUnavailable

LEVELS = 4
DIMENSION = LEVELS**3


def colour_histogram(pictures: UInt8Array) -> Float32Array:
    """Return `[N, 64]` float32: the share of pixels in each of 4 x 4 x 4 colours, for `pictures` `[N, H, W, 3]`."""
    levels = pictures.astype(np.int64) * LEVELS // 256
    colours = (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]
    counts = [np.bincount(picture.ravel(), minlength=DIMENSION) for picture in colours]
    return (np.array(counts) / colours[0].size).astype(np.float32)


class FakeEmbedder:
    """A whole `Embedder` in this process: pictures of the same colours are near each other in the space `visual`.

    Set `down` and every call fails; set `delay_s` and every call takes that long. `embedded` counts pictures.
    """

    def __init__(self, height: int = 32, width: int = 32, name: str = "colours") -> None:
        self.down = False
        self.delay_s = 0.0
        self.embedded = 0
        known = known_input(1, 2, height, width)
        self._contract = ModelContract(
            backbone=name,
            fingerprint=hashlib.sha256(f"{name} {height}x{width}".encode()).hexdigest(),
            artifact=hashlib.sha256(name.encode()).hexdigest(),
            pipeline=PicturePipeline(height=height, width=width),
            spaces=(SpaceContract("visual", "embedding", DIMENSION, Metric.COSINE),),
            known_answer=KnownAnswer(seed=1, count=2, tolerance=1e-4, values=self._compute(known)),
        )

    @property
    def contract(self) -> ModelContract:
        return self._contract

    @property
    def outputs(self) -> Mapping[str, int]:
        return {"features": DIMENSION, "embedding": DIMENSION}

    async def embed(
        self, pictures: UInt8Array, outputs: Sequence[str], *, timeout_s: float
    ) -> Mapping[str, Float32Array]:
        pipeline = self._contract.pipeline
        if pictures.dtype != np.uint8 or pictures.shape != (len(pictures), pipeline.height, pipeline.width, 3):
            raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}")
        if len(pictures) == 0 or set(outputs) - self.outputs.keys():
            raise ValueError(f"no pictures, or unknown outputs: {outputs}")
        if timeout_s <= self.delay_s:
            await asyncio.sleep(max(timeout_s, 0))
            raise DeadlineExceeded("the deadline passed before the fake embedder answered")
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise EmbedderUnavailable("the fake embedder is down")
        self.embedded += len(pictures)
        computed = self._compute(pictures)
        return {name: computed[name] for name in outputs}

    def _compute(self, pictures: UInt8Array) -> dict[str, Float32Array]:
        features = colour_histogram(pictures)
        return {"features": features, "embedding": features / np.linalg.norm(features, axis=1, keepdims=True)}


class FakeEnsemble(FakeEmbedder):
    """The same with a head: the mean colour of a picture, `[N, 3]`, fills the Euclidean space `tint`.

    `tint` is the fingerprint of that output.
    """

    def __init__(self, tint: str = "7" * 64) -> None:
        super().__init__()
        backbone = self._contract
        outputs = {name: OutputContract(backbone.fingerprint) for name in ("features", "embedding")}
        self._contract = dataclasses.replace(
            backbone,
            name="tinted",
            fingerprint=hashlib.sha256(tint.encode()).hexdigest(),
            spaces=(*backbone.spaces, SpaceContract("tint", "tint", 3, Metric.EUCLIDEAN)),
            outputs={**outputs, "tint": OutputContract(tint)},
            components=(backbone.model, "tint-77777777"),
        )

    @property
    def outputs(self) -> Mapping[str, int]:
        return {**super().outputs, "tint": 3}

    def _compute(self, pictures: UInt8Array) -> dict[str, Float32Array]:
        return {**super()._compute(pictures), "tint": pictures.mean(axis=(1, 2), dtype=np.float32)}
