"""What a backbone does to the pixels before its first layer, as data that becomes part of the ONNX graph.

The nodes are written here rather than traced from TensorFlow: its optimiser turns a division by a constant into a
product with the reciprocal, which rounds otherwise for 127.5, 255 and every deviation.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset import contract
from twinset_exporter.errors import UsageError

if TYPE_CHECKING:
    import onnx

Triple = tuple[float, float, float]

_OF_EACH_CHANNEL = re.compile(r"mean=(?P<mean>.+),std=(?P<std>.+)")
_PREPARED = "prepared_pictures"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """`(pixels / scale - mean) / divisor` in float32, after the channels are put in order.

    `mean` and `divisor` (one for all channels, or one each) are in that order. The three operations stay apart, as
    Keras computes them: one multiply-add would round differently.
    """

    channels: Literal["RGB", "BGR"]
    mean: Triple
    divisor: float | Triple
    scale: float = 1.0

    def prepend(self, model: onnx.ModelProto) -> None:
        """Put the preprocessing before `model`, whose one input, `[N, H, W, 3]` float32, becomes uint8 RGB.

        The input is called `contract.INPUT` before and after.
        """
        from onnx import TensorProto, helper, numpy_helper

        graph = model.graph
        (pictures,) = graph.input
        for node in graph.node:
            node.input[:] = [_PREPARED if name == pictures.name else name for name in node.input]
        pictures.type.tensor_type.elem_type = TensorProto.UINT8
        pictures.name = contract.INPUT
        nodes: list[onnx.NodeProto] = []

        def apply(operation: str, *constants: NDArray[np.generic], **attributes: Any) -> None:
            number = len(nodes)
            names = [f"{_PREPARED}_{number}_constant" for _ in constants]
            graph.initializer.extend(map(numpy_helper.from_array, constants, names))
            before = nodes[-1].output[0] if nodes else contract.INPUT
            nodes.append(helper.make_node(operation, [before, *names], [f"{_PREPARED}_{number}"], **attributes))

        if self.channels == "BGR":
            apply("Gather", np.array([2, 1, 0]), axis=-1)  # of bytes, a quarter of the traffic of floats
        apply("Cast", to=TensorProto.FLOAT)
        if self.scale != 1.0:
            apply("Div", np.float32(self.scale).reshape(1))
        if any(self.mean):
            apply("Sub", np.array(self.mean, np.float32))
        if self.divisor != 1.0:
            apply("Div", np.array(self.divisor, np.float32).reshape(-1))
        nodes[-1].output[0] = _PREPARED
        network = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes, *network])

    def to_json(self) -> str:
        """Return the canonical JSON that enters the fingerprint; a scale of 1 does nothing and is left out."""
        steps: dict[str, object] = {"channels": self.channels, "divisor": self.divisor, "mean": self.mean}
        return json.dumps(steps if self.scale == 1.0 else {**steps, "scale": self.scale}, sort_keys=True)


NAMED = {
    # The means of ImageNet's training pictures, in the order of the Caffe weights that Keras's were made from.
    "caffe": Preprocessing("BGR", mean=(103.939, 116.779, 123.68), divisor=1.0),
    "tf": Preprocessing("RGB", mean=(1.0, 1.0, 1.0), divisor=1.0, scale=127.5),
    "torch": Preprocessing("RGB", mean=(0.485, 0.456, 0.406), divisor=(0.229, 0.224, 0.225), scale=255.0),
    "none": Preprocessing("RGB", mean=(0.0, 0.0, 0.0), divisor=1.0),
}
"""The modes of Keras's `preprocess_input`, and none: networks that prepare their pixels themselves."""


def parse(text: str) -> Preprocessing:
    """Return the preprocessing that a command line names: one of `NAMED`, or `mean=...,std=...` of pixels 0 to 255.

    Both take one number for all channels or three, RGB.

    Raises:
        UsageError: it is neither, or its numbers make no sense.
    """
    if text in NAMED:
        return NAMED[text]
    found = _OF_EACH_CHANNEL.fullmatch(text.replace(" ", ""))
    if not found:
        raise UsageError(
            f"--preprocessing {text!r}: choose {', '.join(NAMED)}, or give numbers, as in mean=127.5,std=127.5 or "
            "mean=123.7,116.3,103.5,std=58.4,57.1,57.4"
        )
    mean, deviation = (_numbers(text, found[part]) for part in ("mean", "std"))
    if min(deviation) <= 0:
        raise UsageError(f"--preprocessing {text!r}: every std must be above 0")
    if any(mean) and max(*mean, *deviation) <= 1:
        raise UsageError(
            f"--preprocessing {text!r}: these are numbers for pixels of 0 to 1, and twinset's are 0 to 255: multiply "
            "all of them by 255"
        )
    return Preprocessing("RGB", mean, deviation)


def _numbers(text: str, listed: str) -> Triple:
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise UsageError(f"--preprocessing {text!r}: mean and std take one number, or three for R, G and B")
    red, green, blue = numbers
    return red, green, blue
