"""The named backbones from Keras through ONNX Runtime into the real tritonserver; those without weights in the box
with noise for weights, which parity doesn't mind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.steps import RecordedSteps
from twinset.images import PicturePipeline
from twinset_exporter import outputs, pictures
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.export import Request, export
from twinset_exporter.parity import compare, gate
from twinset_exporter.repository import Repository
from twinset_exporter.weights import FileWeights, RandomWeights, Weights
from twinset_server.config import TritonSettings
from twinset_server.triton import open_embedder

BATCHES = (1, 8, 32)

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vgg16", "vgg16_pooled", "inception_v3", "efficientnet_lite0"])
async def test_triton_computes_what_keras_does_at_every_batch_size(name: str, tmp_path: Path) -> None:
    backbone = BACKBONES[name]
    packaged = backbone.packaged_weights
    weights: Weights = RandomWeights(0) if packaged is None else FileWeights(packaged)
    pipeline = PicturePipeline(backbone.size, backbone.size)
    result = export(Request(backbone, weights, pipeline), Repository(tmp_path), RecordedSteps())
    assert result.contract.random_weights == (packaged is None)

    real = pictures.load(pictures.PACKAGED, pipeline)
    network = backbone.build(weights, backbone.size, backbone.size)
    expected = outputs.of_features(network.predict(backbone.preprocess(real), batch_size=8, verbose=0))
    assert expected["features"].shape == (32, backbone.features)
    async with open_embedder(TritonSettings(model_repository=tmp_path, max_batch=32)) as triton:
        for batch in BATCHES:
            rows = await triton.embed(real[:batch], list(expected), timeout_s=120)
            parities = compare({key: values[:batch] for key, values in expected.items()}, rows)
            print(name, batch, *map(str, parities), sep="\n  ")
            gate(parities)
            assert np.isfinite(rows["features"]).all()
