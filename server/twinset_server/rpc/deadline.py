"""How long a call may take."""

from __future__ import annotations

from typing import Any

import grpc.aio

DEFAULT_S = 60.0
"""For a caller that set no deadline: nothing may wait for ever."""


def time_left_s(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    """Return the seconds left of the caller's deadline."""
    left_s = context.time_remaining()
    return DEFAULT_S if left_s is None else left_s
