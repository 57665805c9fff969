"""Holds answers back when vectors come faster than they can be indexed.

Proportional control: beyond a bound, each vector written takes this process the longer the more vectors stand outside
the index, so that the rate settles where the builder keeps up, whatever the number of callers.
"""

from __future__ import annotations

from collections.abc import Callable

_PER_VECTOR_S = 0.001
"""What a vector takes when twice as many as the bound stand outside the index: 1,000 a second and process."""

_LONGEST_S = 1.0


class Pacing:
    """Tells how long to hold answers back."""

    def __init__(self, slow_at: int, outside: Callable[[], int], clock: Callable[[], float]) -> None:
        """Let pass what comes while `outside`, the number of vectors outside the index, is at most `slow_at`."""
        self._slow_at = slow_at
        self._outside = outside
        self._clock = clock
        self._free_at = 0.0

    def hold_s(self, vectors: int) -> float:
        """Return for how many seconds to hold back the answer to a write of `vectors`, at most 1."""
        excess = self._outside() / self._slow_at - 1
        if vectors == 0 or excess <= 0:
            return 0.0
        now = self._clock()
        self._free_at = min(max(now, self._free_at) + vectors * excess * _PER_VECTOR_S, now + _LONGEST_S)
        return self._free_at - now
