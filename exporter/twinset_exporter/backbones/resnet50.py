"""ResNet50 of keras.applications: 2,048 features from 224x224 pixels, 23.6 million weights that you bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras


def network(height: int, width: int) -> keras.Model:
    """Return the network with untrained weights: `[N, height, width, 3]` float32 to `[N, 2048]`, the average pool."""
    import keras

    return keras.applications.ResNet50(
        include_top=False, weights=None, pooling="avg", input_shape=(height, width, 3), name="resnet50"
    )


def _preprocess(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what Keras itself feeds the network; the parity gate compares the graph with it."""
    import keras

    prepared: NDArray[np.float32] = keras.applications.resnet50.preprocess_input(pictures.astype(np.float32))
    return prepared


BACKBONE = Backbone(
    name="resnet50",
    summary="larger and slower, 2,048 features; bring weights with --weights",
    network=network,
    size=224,
    smallest_size=32,
    features=2048,
    # The means of ImageNet's training pictures, in the order of the Caffe weights that Keras's were made from.
    preprocessing=Preprocessing(channels="BGR", mean=(103.939, 116.779, 123.68), divisor=1.0),
    preprocess=_preprocess,
)
