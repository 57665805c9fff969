"""Proves a published interaction model again: its files, its known answer, and Triton's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np

from twinset.interaction_contract import SCORE, known_factors
from twinset.known_answer import KnownAnswer
from twinset_exporter.errors import ExportError
from twinset_exporter.interaction.runtime import InteractionOnTriton, InteractionRuntime, Scores
from twinset_exporter.proving import Check
from twinset_exporter.repository import MODEL, PublishedInteraction


def prove(model: PublishedInteraction, triton: Callable[[], AbstractContextManager[str]] | None) -> Iterator[Check]:
    """Yield each check when it is done; see `proving.prove`."""
    title = "files are those of the card"
    if problems := model.problems():
        yield Check(title, False, "; ".join(problems))
        return
    yield Check(title, True, "byte by byte")
    contract = model.contract
    try:
        runtime = InteractionRuntime((model.path / MODEL).read_bytes())
        yield _known("ONNX Runtime: known answer", contract.known_answer, contract.dimension, runtime)
        if triton is not None:
            with triton() as address, InteractionOnTriton(address, contract.model) as served:
                yield _known("Triton: known answer", contract.known_answer, contract.dimension, served)
    except ExportError as error:
        yield Check("known answer", False, str(error))


def _known(title: str, known: KnownAnswer, dimension: int, given: Scores) -> Check:
    pairs = known_factors(known.seed, known.count, dimension)
    answer = given.scores(*pairs, known.count)[:, np.newaxis]
    problem = known.mismatch({SCORE: answer})
    return Check(title, problem is None, problem or f"{known.count} pairs, within {known.tolerance:g} of the scale")
