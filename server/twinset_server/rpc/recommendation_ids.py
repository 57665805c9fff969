"""Names of answers: an interaction may say which one it came from."""

from __future__ import annotations

import secrets

_BYTES = 16
"""At random, so that workers need not agree: among a trillion answers two are alike with a chance of 1e-15."""


def new_recommendation_id() -> str:
    """Return a name that no other answer has, 32 hexadecimal digits; about a microsecond."""
    return secrets.token_hex(_BYTES)
