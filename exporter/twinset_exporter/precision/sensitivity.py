"""Which convolutions stay fp32: as few as keep the neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.outputs import EMBEDDING
from twinset_exporter.precision.gate import neighbours_recall
from twinset_exporter.precision.int8 import Quantiser
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps

AIM = 0.97
_MOST_LEADING = 3


@dataclass(frozen=True, slots=True)
class Mix:
    """A quantised graph, and how many of its first convolutions are left in fp32.

    `recall` is its neighbours' recall@10 against fp32 on the calibration pictures, on which it was chosen.
    """

    leading: int
    convolutions: int
    recall: float
    model: bytes


def choose(quantiser: Quantiser, reference: NDArray[np.float32], pictures: NDArray[np.uint8], steps: Steps) -> Mix:
    """Return the mix that reaches `AIM` with the fewest convolutions in fp32, else the one of the best recall.

    Errors of the first layers pass through all others, and their high gain makes them the most sensitive (in
    EfficientNet-Lite0 leaving out the first six took away four fifths of the error). So the fp32 part is a run from
    the beginning: 1 convolution (with three input channels int8 is slower than fp32), then 2 and 3. A fourth handed a
    tensor of 96 channels over at full resolution: 13.3 ms for 4 pictures instead of 9.3 (fp32: 24), for .002 in
    recall@10. A single fp32 convolution between quantised ones is no choice: ONNX Runtime quantises its weights by
    itself, with one scale for all channels (mean cosine .95 where all in int8 had .99).

    Args:
        quantiser: of the network.
        reference: `[N, D]`, fp32 vectors of `pictures`.
        pictures: `[N, H, W, 3]` uint8 RGB.
        steps: told of each mix.
    """
    mixes: list[Mix] = []
    # One convolution at least is quantised, or there would be no int8 in it.
    most = max(1, min(_MOST_LEADING, len(quantiser.convolutions) - 1))
    for leading in range(1, most + 1):
        model = quantiser.quantise(quantiser.convolutions[:leading])
        given = Runtime(model).run(pictures)[EMBEDDING.name]
        mix = Mix(leading, len(quantiser.convolutions), neighbours_recall(reference, given), model)
        steps.note(
            f"{leading} of {mix.convolutions} convolutions in fp32: neighbours' recall@10 {mix.recall:.4f} on the "
            "calibration pictures"
        )
        mixes.append(mix)
        if mix.recall >= AIM:
            break
    return max(mixes, key=lambda mix: mix.recall)
