"""What the exporter has to know of an image network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.preprocessing import Preprocessing
from twinset_exporter.weights import Weights, check_finite

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A Keras image network cut before its classifier, and how it wants its pictures.

    Attributes:
        name: how users call it, and the first part of its models' names; `[a-z0-9_]` only.
        summary: what it is, in a line for the help text.
        network: `(height, width)` to the network with untrained weights.
        size: side of its pictures in pixels, unless the user asks for another.
        smallest_size: the smallest side that it takes.
        features: dimension of its output for pictures of that size.
        preprocessing: what becomes part of the graph.
        preprocess: the same on arrays, `[N, H, W, 3]` uint8 RGB to float32, by other code: the parity gate compares
            the exported graph with the network behind this function.
        packaged_weights: trained weights in the package, if any.
        imagenet: `(height, width)` to the network with Keras's own ImageNet weights, where Keras has some.
    """

    name: str
    summary: str
    network: Callable[[int, int], keras.Model]
    size: int
    smallest_size: int
    features: int
    preprocessing: Preprocessing
    preprocess: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    packaged_weights: Path | None = None
    imagenet: Callable[[int, int], keras.Model] | None = None

    def build(self, weights: Weights, height: int, width: int) -> keras.Model:
        """Return the network for pictures of `height` times `width`, with `weights` in it.

        Raises:
            ExportError: the weights can't be read, are another network's, or aren't finite.
        """
        model = weights.fill(lambda: self.network(height, width))
        check_finite(model.name, ((variable.path, variable) for variable in model.weights))
        return model
