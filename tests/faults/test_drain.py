"""A server is asked to end under calls: a share of what `python -m faults.drain` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.filling import fill
from fakes.models import write_tiny_model
from faults.drain import DRAIN_S, end_under_load, restart_workers
from faults.overload import DIMENSION, OK, SPACE, picture_calls, vector_calls
from faults.share import share


def sections(folder: Path) -> dict[str, dict[str, object]]:
    """Return the settings of a server of two workers with a few items."""
    write_tiny_model(folder / "models")
    fill(folder / "data", SPACE, DIMENSION, 64)
    return {
        "server": {"drain_s": DRAIN_S, "workers": 2},
        "triton": {"model_repository": folder / "models"},
        f"spaces.{SPACE}": {"dimension": DIMENSION},
    }


def test_no_call_is_lost_that_an_ending_server_had_taken(tmp_path: Path) -> None:
    given = sections(tmp_path)
    for _ in range(share(1, 50)):
        ending = end_under_load(tmp_path, given, [*vector_calls(20), *picture_calls()[:20]])
        assert ending.lost == 0
        assert ending.statuses[OK] > 0


@pytest.mark.slow
def test_our_client_loses_no_call_while_workers_are_restarted(tmp_path: Path) -> None:
    load = restart_workers(tmp_path, sections(tmp_path), rounds=share(1, 5))
    assert load.failures == []
    assert load.answered > 0
