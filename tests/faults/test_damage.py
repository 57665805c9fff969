"""Damage to the index is found before it is used, and costs neither an answer nor the process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from faults import damage
from faults.mutation_trial import KINDS
from faults.share import share

MUTATIONS = share(165, 1000)


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("master")
    asyncio.run(damage.prepare(folder))
    return folder


def test_damage_is_found_and_the_generation_before_answers_the_same(master: Path) -> None:
    trials = list(damage.trials(master, 0, MUTATIONS))
    assert len(trials) == MUTATIONS
    assert [trial for trial in trials if trial.problem] == []
    assert {trial.kind for trial in trials} == set(KINDS)
    assert len({trial.file for trial in trials}) == 15


def test_the_harness_catches_a_checksum_that_is_skipped(master: Path) -> None:
    problems = " ".join(trial.problem for trial in damage.trials(master, 10, 20, "unchecked-files"))
    assert "the damage was not found" in problems
    assert "USearch was given damaged bytes" in problems
