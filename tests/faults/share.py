"""How much is tried: a share that `make test` has time for, or all that `make faults` promises."""

from __future__ import annotations

import os

EVERYTHING = os.environ.get("TWINSET_FAULTS") == "all"


def share(few: int, all_of_them: int) -> int:
    """Return how many to try here."""
    return all_of_them if EVERYTHING else few
