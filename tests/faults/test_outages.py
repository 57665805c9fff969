"""Triton is lost under calls: a share of what `python -m faults.outages` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.outages import KINDS, outage, problems
from faults.share import EVERYTHING, share

FEW = ("another-model",)


@pytest.mark.parametrize("kind", KINDS if EVERYTHING else FEW)
def test_what_needs_no_model_goes_on_and_no_vector_is_wrong(kind: str, tmp_path: Path) -> None:
    seen = outage(kind, tmp_path, hold_s=share(1, 8))
    assert problems(seen) == []
    assert seen.stored_calls > 10
    assert seen.stored > 2
    if kind == "wrong-shapes":
        assert seen.codes == {"UNAVAILABLE"}
