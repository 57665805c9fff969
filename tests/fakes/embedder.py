"""An embedder without Triton: the colours of a picture are its features."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from twinset.contract import Metric, ModelContract, OutputContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer, known_categories, known_input
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset_server.domain import Float32Array, Int32Array, UInt8Array
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
            known_answer=KnownAnswer(
                seed=1, count=2, tolerance=1e-4, values=self._compute(known, np.zeros(2, np.int32))
            ),
        )

    @property
    def contract(self) -> ModelContract:
        return self._contract

    @property
    def outputs(self) -> Mapping[str, int]:
        return {"features": DIMENSION, "embedding": DIMENSION}

    @property
    def is_well(self) -> bool:
        return not self.down

    async def embed(
        self,
        pictures: UInt8Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        categories: Int32Array | None = None,
    ) -> Mapping[str, Float32Array]:
        pipeline = self._contract.pipeline
        if pictures.dtype != np.uint8 or pictures.shape != (len(pictures), pipeline.height, pipeline.width, 3):
            raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}")
        if len(pictures) == 0 or set(outputs) - self.outputs.keys():
            raise ValueError(f"no pictures, or unknown outputs: {outputs}")
        given = np.zeros(len(pictures), np.int32) if categories is None else categories
        if given.shape != (len(pictures),) or given.dtype != np.int32:
            raise ValueError(f"categories are {given.dtype} {given.shape}")
        if (named := len(self._contract.categories)) and (given.min() < 0 or given.max() > named):
            raise ValueError(f"categories are 0 to {named}, not {given}")
        if timeout_s <= self.delay_s:
            await asyncio.sleep(max(timeout_s, 0))
            raise DeadlineExceeded("the deadline passed before the fake embedder answered")
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise EmbedderUnavailable("the fake embedder is down")
        self.embedded += len(pictures)
        computed = self._compute(pictures, given)
        return {name: computed[name] for name in outputs}

    def _compute(self, pictures: UInt8Array, categories: Int32Array) -> dict[str, Float32Array]:
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

    def _compute(self, pictures: UInt8Array, categories: Int32Array) -> dict[str, Float32Array]:
        return {**super()._compute(pictures, categories), "tint": pictures.mean(axis=(1, 2), dtype=np.float32)}


SHADES = ("red", "green", "blue")
TYPES = ("sofa", "lamp")


class FakeClassifier(FakeEmbedder):
    """The same with a class output and a pair that takes the category.

    `shade` tells which of `SHADES` is strongest, as its share of the light. `pair_source` and `pair_target` are
    `[N, 2]`: the picture's brightness from 0 to 1, as a source brighter by 10 for each step of its category among
    `TYPES`, and as a target by 20.
    """

    def __init__(self, shade: str = "8" * 64) -> None:
        super().__init__()
        backbone = self._contract
        outputs = {name: OutputContract(backbone.fingerprint) for name in ("features", "embedding")}
        outputs["shade"] = OutputContract(shade, SHADES, probabilities=True)
        outputs["source"] = OutputContract("9" * 64, takes_category=True)
        outputs["target"] = OutputContract("a" * 64, takes_category=True)
        known = known_input(1, 2, 32, 32)
        self._contract = dataclasses.replace(
            backbone,
            name="classified",
            fingerprint=hashlib.sha256(shade.encode()).hexdigest(),
            spaces=(
                *backbone.spaces,
                SpaceContract(PAIR_SOURCE, "source", 2, Metric.EUCLIDEAN),
                SpaceContract(PAIR_TARGET, "target", 2, Metric.EUCLIDEAN),
            ),
            known_answer=KnownAnswer(1, 2, 1e-4, self._compute(known, known_categories(2, TYPES)[:, 0])),
            outputs=outputs,
            components=(backbone.model, "shade-88888888", "pair-99999999"),
            categories=TYPES,
            pair=PairContract(offset=1.5, scale=0.5, shift=-0.25, prior=0.5, ece=0.02),
        )

    @property
    def outputs(self) -> Mapping[str, int]:
        return {**super().outputs, "shade": len(SHADES), "source": 2, "target": 2}

    def _compute(self, pictures: UInt8Array, categories: Int32Array) -> dict[str, Float32Array]:
        light = pictures.mean(axis=(1, 2), dtype=np.float32) + np.float32(1e-3)
        shade = light / light.sum(axis=1, keepdims=True)
        bright = np.repeat(light.mean(axis=1, keepdims=True) / 256, 2, axis=1)
        step = categories[:, np.newaxis].astype(np.float32)
        pair = {"source": bright + 10 * step, "target": bright + 20 * step}
        return {**super()._compute(pictures, categories), "shade": shade, **pair}
