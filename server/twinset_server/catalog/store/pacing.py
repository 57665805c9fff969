"""Holds answers back when vectors come faster than they can be indexed.

Proportional control: beyond a bound, each vector written takes this process the longer the more vectors stand outside
the index, so that the rate settles where the builder keeps up, whatever the number of callers. Where it doesn't
settle, because the builder is away, no more vectors are taken far beyond the bound: each process holds them in memory.
"""

from __future__ import annotations

from collections.abc import Callable

from twinset_server.errors import IndexBehind

_PER_VECTOR_S = 0.001
"""What a vector takes when twice as many as the bound stand outside the index: 1,000 a second and process."""

_LONGEST_S = 1.0

_FULL_SHARE = 10
"""At so many times the bound no more vectors are taken."""

_FULL_RETRY_S = 5.0


class Pacing:
    """Tells how long to hold answers back."""

    def __init__(self, slow_at: int, outside: Callable[[], int], clock: Callable[[], float]) -> None:
        """Let pass what comes while `outside`, the number of vectors outside the index, is at most `slow_at`."""
        self._slow_at = slow_at
        self._outside = outside
        self._clock = clock
        self._free_at = 0.0

    def refusal(self) -> IndexBehind | None:
        """Return what a change that brings vectors is answered with now; None where it may be made."""
        outside = self._outside()
        if outside <= _FULL_SHARE * self._slow_at:
            return None
        return IndexBehind(
            f"{outside} vectors stand outside the index, {_FULL_SHARE} times store.slow_at ({self._slow_at}): wait "
            "until the builder has taken them in; where it doesn't, the server's log says why",
            retry_after_s=_FULL_RETRY_S,
        )

    def hold_s(self, vectors: int) -> float:
        """Return for how many seconds to hold back the answer to a write of `vectors`, at most 1."""
        excess = self._outside() / self._slow_at - 1
        if vectors == 0 or excess <= 0:
            return 0.0
        now = self._clock()
        self._free_at = min(max(now, self._free_at) + vectors * excess * _PER_VECTOR_S, now + _LONGEST_S)
        return self._free_at - now
