"""Spaces that no model fills: clients bring their vectors."""

from __future__ import annotations

import hashlib

from twinset_server.config import ExternalSpace
from twinset_server.domain import Space


def external_space(name: str, settings: ExternalSpace) -> Space:
    """Return the space that `settings` describe; its fingerprint depends on name, dimension and metric alone."""
    text = f"external space {name} {settings.dimension} {settings.metric.value}"
    return Space(name, settings.dimension, settings.metric, hashlib.sha256(text.encode()).hexdigest())
