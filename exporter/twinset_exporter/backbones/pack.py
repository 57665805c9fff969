"""Makes `pretrained/efficientnet_lite0.npz` again: `python -m twinset_exporter.backbones.pack FILE.keras`.

FILE.keras is the trained network with its BatchNormalization layers. Each is folded into the convolution before it, in
float64, and the result is rounded to float16: half the size, and no variances near 0 that float16 can't hold.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset_exporter import tensorflow_noise
from twinset_exporter.backbones.efficientnet_lite0 import PRETRAINED

if TYPE_CHECKING:
    import keras


def fold(trained: keras.Model) -> dict[str, NDArray[np.float16]]:
    """Return kernel and bias of every convolution of `trained`, by `layer/variable`.

    Raises:
        ValueError: a folded value is too large for float16.
    """
    packed: dict[str, NDArray[np.float16]] = {}
    convolution: keras.Layer | None = None
    for layer in trained.layers:
        kind = type(layer).__name__
        if kind in ("Conv2D", "DepthwiseConv2D"):
            convolution = layer
        elif kind == "BatchNormalization" and convolution is not None:
            gamma, beta, mean, variance = (weights.astype(np.float64) for weights in layer.get_weights())
            scale = gamma / np.sqrt(variance + layer.epsilon)
            kernel = convolution.get_weights()[0].astype(np.float64)
            # A depthwise kernel is [h, w, channels, 1], any other [h, w, in, channels].
            by_channel = scale[:, np.newaxis] if type(convolution).__name__ == "DepthwiseConv2D" else scale
            packed[f"{convolution.name}/kernel"] = _float16(kernel * by_channel, convolution.name)
            packed[f"{convolution.name}/bias"] = _float16(beta - mean * scale, convolution.name)
            convolution = None
    return packed


def _float16(values: NDArray[np.float64], name: str) -> NDArray[np.float16]:
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise ValueError(f"{name}: a folded weight is too large for float16")
    return values.astype(np.float16)


def main() -> None:
    """Pack the file named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {__spec__.name} FILE.keras")
    tensorflow_noise.silence()
    import keras

    packed = fold(keras.saving.load_model(Path(sys.argv[1]), compile=False))
    np.savez(PRETRAINED, allow_pickle=False, **packed)  # no compression: it would save 8 % of near-random bits
    print(f"{PRETRAINED}: {len(packed)} arrays, {PRETRAINED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
