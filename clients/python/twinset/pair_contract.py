"""What a model that compares the two sides of a pair promises: "do these two go together" as a probability.

A pair is directed. The space `PAIR_SOURCE` holds each item as the source of a pair, `PAIR_TARGET` as its target, and
the best partners of an item are the nearest targets of its source vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

PAIR_SOURCE = "pair_source"
PAIR_TARGET = "pair_target"


@dataclass(frozen=True, slots=True)
class PairContract:
    """How a pair's similarity becomes a probability.

    With s the similarity of the source's vector and the target's, which is -|a - b|^2 in a Euclidean space and <a, b>
    in one of inner products (McAuley, Personalized Machine Learning, ch. 9), the probability of a pair is

        sigmoid(scale (offset + s) + shift)

    where a share `prior` of the pairs asked for are true. For another share p add log(p / (1 - p)) - log(prior / (1 -
    prior)) before the sigmoid.

    Attributes:
        offset: c of the trained model, in the unit of s.
        scale: of the calibration, above 0; 1 where the trained logit is kept.
        shift: of the calibration, in logits.
        prior: the share of true pairs that the probabilities hold for, between 0 and 1.
        ece: the expected calibration error as it was measured, 0 to 1.

    Raises:
        ValueError: a number is out of its range.
    """

    offset: float
    scale: float
    shift: float
    prior: float
    ece: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{field.name} must be a finite number, not {value!r}")
        if self.scale <= 0:
            raise ValueError(f"scale must be above 0, not {self.scale!r}: the nearer pair is the likelier one")
        if not 0 < self.prior < 1:
            raise ValueError(f"prior must be a share between 0 and 1, not {self.prior!r}")
        if not 0 <= self.ece <= 1:
            raise ValueError(f"ece must be from 0 to 1, not {self.ece!r}")
