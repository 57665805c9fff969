"""EfficientNet-Lite0: 1,280 features from 224x224 pixels, 3.4 million weights, with ImageNet weights in the box.

The network of Tan and Le, "EfficientNet" (2019), in the Lite variant of TensorFlow's authors: no
squeeze-and-excitation, ReLU6 for swish, and stem and head that don't scale. It is here for inference: each
BatchNormalization of the trained network is folded into the convolution before it (see `pack.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras


class _Stage(NamedTuple):
    """Blocks in a row. The first one strides and changes the number of filters; the others add to their input."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


PRETRAINED = Path(__file__).parent.parent / "pretrained" / "efficientnet_lite0.npz"

_STEM_FILTERS = 32
_STAGES = (
    _Stage(blocks=1, kernel=3, stride=1, expansion=1, filters=16),
    _Stage(blocks=2, kernel=3, stride=2, expansion=6, filters=24),
    _Stage(blocks=2, kernel=5, stride=2, expansion=6, filters=40),
    _Stage(blocks=3, kernel=3, stride=2, expansion=6, filters=80),
    _Stage(blocks=3, kernel=5, stride=1, expansion=6, filters=112),
    _Stage(blocks=4, kernel=5, stride=2, expansion=6, filters=192),
    _Stage(blocks=1, kernel=3, stride=1, expansion=6, filters=320),
)
_FEATURES = 1280


def network(height: int, width: int) -> keras.Model:
    """Return the network with untrained weights: `[N, height, width, 3]` float32 to `[N, 1280]`."""
    import keras
    from keras import layers

    pictures = keras.Input((height, width, 3), name="pictures")
    x = layers.Conv2D(_STEM_FILTERS, 3, strides=2, padding="same", name="stem_conv")(pictures)
    x = layers.ReLU(6.0, name="stem_relu6")(x)
    for number, stage in enumerate(_STAGES, start=1):
        for index in range(stage.blocks):
            x = _block(x, stage, first=index == 0, name=f"block{number}{'abcd'[index]}")
    x = layers.Conv2D(_FEATURES, 1, name="head_conv")(x)
    x = layers.ReLU(6.0, name="head_relu6")(x)
    features = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(pictures, features, name="efficientnet_lite0")


def _block(x: keras.KerasTensor, stage: _Stage, *, first: bool, name: str) -> keras.KerasTensor:
    """Return `x` through one inverted residual block: widen, filter each channel, narrow (without activation)."""
    from keras import layers

    skipped = x
    if stage.expansion != 1:
        x = layers.Conv2D(x.shape[-1] * stage.expansion, 1, name=f"{name}_expand_conv")(x)
        x = layers.ReLU(6.0, name=f"{name}_expand_relu6")(x)
    stride = stage.stride if first else 1
    x = layers.DepthwiseConv2D(stage.kernel, strides=stride, padding="same", name=f"{name}_dwconv")(x)
    x = layers.ReLU(6.0, name=f"{name}_dw_relu6")(x)
    x = layers.Conv2D(stage.filters, 1, name=f"{name}_project_conv")(x)
    return x if first else layers.Add(name=f"{name}_add")([skipped, x])


def _preprocess(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the network was trained on, written independently of the graph: the parity gate compares the two."""
    return (pictures.astype(np.float32) - np.float32(127)) / np.float32(128)


BACKBONE = Backbone(
    name="efficientnet_lite0",
    summary="small and quick, 1,280 features; its ImageNet weights are in the box",
    network=network,
    size=224,
    smallest_size=32,
    features=_FEATURES,
    preprocessing=Preprocessing(channels="RGB", mean=(127.0, 127.0, 127.0), divisor=128.0),
    preprocess=_preprocess,
    packaged_weights=PRETRAINED,
)
