"""Names of answers: an interaction may say which one it came from."""

from __future__ import annotations

import secrets

_DIGITS = 32
"""16 bytes at random, so that workers need not agree: among a trillion answers two are alike with a chance of 1e-15."""

_AT_ONCE = 64
"""Names drawn together: a call of the system for each takes longer than all the rest."""

_drawn: list[str] = []


def new_recommendation_id() -> str:
    """Return a name that no other answer has, 32 hexadecimal digits. Called on the event loop alone."""
    if not _drawn:
        digits = secrets.token_hex(_AT_ONCE * _DIGITS // 2)
        _drawn.extend(digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS))
    return _drawn.pop()
