"""What a backbone does to the pixels before its first layer, as data that becomes part of the ONNX graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """`(pixels - mean) / divisor` in float32, after the channels are put in order.

    `mean` is in that order, on the scale 0 to 255. The two operations stay apart, as Keras computes them: one
    multiply-add would round differently.
    """

    channels: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    divisor: float

    def in_graph(self, pictures: tf.Tensor) -> tf.Tensor:
        """Return the network's input, `[N, H, W, 3]` float32, for `pictures`, `[N, H, W, 3]` uint8 RGB."""
        import tensorflow as tf

        pixels = tf.cast(pictures, tf.float32)
        if self.channels == "BGR":
            pixels = tf.gather(pixels, [2, 1, 0], axis=-1)
        pixels = pixels - tf.constant(self.mean, tf.float32)
        return pixels if self.divisor == 1.0 else pixels / tf.constant(self.divisor, tf.float32)

    def to_json(self) -> str:
        """Return the canonical JSON that enters the fingerprint."""
        return json.dumps(asdict(self), sort_keys=True)
