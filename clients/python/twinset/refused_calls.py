"""Calls that a busy server refused at its door: when they go again, and when they are given up."""

from __future__ import annotations

import random
import time

import grpc

from twinset.status import error_from_call

TRIES = 12
"""How often a call is made at most, the first time included."""

_NEEDS_A_HAND = "DISK_FULL"
_LONGEST_PAUSE_S = 10.0
_JITTER = 0.5


class Refusals:
    """The refusals of one call, which may take `timeout_s` in all; None means as long as it likes.

    A refused call was not begun, so that a write is as safe to make again as a read.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._tries = 1

    @property
    def left_s(self) -> float | None:
        """How many seconds the call may still take."""
        return None if self._end_s is None else max(0.0, self._end_s - time.monotonic())

    def pause_s(self, failure: grpc.RpcError) -> float | None:
        """Return how long to wait before the next try; None where the failure is none to be tried again.

        It is what the server's RetryInfo says and up to half as much again: all those who were refused together would
        otherwise come again together.
        """
        if not isinstance(failure, grpc.Call) or failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            return None
        refusal = error_from_call(failure, "the server")
        if refusal.retry_after_s is None or refusal.reason == _NEEDS_A_HAND or self._tries == TRIES:
            return None
        pause_s = min(refusal.retry_after_s, _LONGEST_PAUSE_S) * random.uniform(1, 1 + _JITTER)  # noqa: S311
        if self._end_s is not None and time.monotonic() + pause_s >= self._end_s:
            return None
        self._tries += 1
        return pause_s
