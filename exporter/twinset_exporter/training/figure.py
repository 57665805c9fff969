"""A measured value with the protocol that it was taken by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        id: such as `fashion.p6.best`.
        value: finite.
        better: in which direction.
        protocol: how it was taken, in words: on which part, against what, with which seed.

    Raises:
        ValueError: the value is not finite, or the protocol is empty.
    """

    id: str
    value: float
    better: Literal["higher", "lower"]
    protocol: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"figure {self.id}: {self.value} is no finite value")
        if not self.protocol.strip():
            raise ValueError(f"figure {self.id}: a figure without its protocol is no figure")
