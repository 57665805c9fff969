"""The kinds of machine that a model is published for."""

from __future__ import annotations

import enum

PARAMETER = "twinset.target"
"""Under which the target lies in a model's config, beside the contract."""


class Target(enum.Enum):
    """What the model runs on."""

    CPU = "cpu"
    GPU = "gpu"
