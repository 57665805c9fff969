"""Proves a published model again, from its files to Triton's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.card import Card, CardError, read_card
from twinset.known_answer import KnownAnswer, known_categories, known_input
from twinset_exporter import pictures, proof
from twinset_exporter.errors import ExportError
from twinset_exporter.heads.chain import Chain, open_runtime
from twinset_exporter.parity import Parity
from twinset_exporter.repository import PublishedModel
from twinset_exporter.runtime import Runtime, check_batch_axis
from twinset_exporter.triton_model import TritonModel
from twinset_exporter.triton_proof import TritonProof, by


@dataclass(frozen=True, slots=True)
class Check:
    """One check, whether it passed, and its figures or what is wrong.

    Checks of Triton's answers carry the whole proof that they are a part of.
    """

    title: str
    passed: bool
    told: str
    proof: TritonProof | None = None


def prove(
    model: PublishedModel,
    triton: Callable[[], AbstractContextManager[str]] | None,
    parity_pictures: Path | None,
) -> Iterator[Check]:
    """Yield each check when it is done. The files come first, and where they are wrong nothing else is tried.

    Args:
        model: what to prove.
        triton: opens the address, `host:port`, of a Triton that serves it; None leaves that part out.
        parity_pictures: folder of pictures for the comparison, None for those in the box.

    Raises:
        UsageError: the pictures are of no use.
    """
    card, problems = _card(model)
    if card is None or problems:
        yield Check("files are those of the card", False, "; ".join(problems))
        return
    files = [digest for part in (card.files, *card.components.values()) for digest in part.values()]
    parts = f" of it and its {len(card.components)} components" if card.components else ""
    size = sum(digest.size_bytes for digest in files)
    yield Check("files are those of the card", True, f"{len(files)} files{parts}, {size / 1e6:.1f} MB")
    real = pictures.load(parity_pictures or pictures.PACKAGED, model.contract.pipeline)
    known = model.contract.known_answer
    try:
        runtime = open_runtime(model)
        check_batch_axis(runtime, real[0])
        answer = runtime.run(_noise(model), categories=_categories(model, known.count))
    except ExportError as error:
        yield Check("ONNX Runtime: known answer", False, str(error))
        return
    yield _known("ONNX Runtime: known answer", known, answer)
    if triton is None:
        return
    try:
        with triton() as address, TritonModel(address, model.path.name) as served:
            yield from _through_triton(served, model, runtime, real, pictures.name(parity_pictures))
    except ExportError as error:
        yield Check("Triton", False, str(error))


def _through_triton(
    served: TritonModel, model: PublishedModel, runtime: Runtime | Chain, real: NDArray[np.uint8], source: str
) -> Iterator[Check]:
    theirs, ours = served.contract, model.contract
    same = (theirs.fingerprint, theirs.artifact) == (ours.fingerprint, ours.artifact)
    told = "fingerprint and artifact" if same else f"it serves {theirs.fingerprint}, artifact {theirs.artifact}"
    yield Check("Triton: serves this model", same, told)
    outputs = list(runtime.dimensions)
    noise = _noise(model)
    known = ours.known_answer
    answer = served.run(noise, len(noise), outputs, _categories(model, len(noise)))
    yield _known("Triton: known answer", known, answer)
    categories = _categories(model, len(real))
    batches = proof.compare(runtime.run(real, categories=categories), by(served, outputs), real, categories)
    found = TritonProof(served.version(), "onnxruntime", source, batches)
    for measured in batches:
        for parity in measured.outputs:
            title = f"Triton and ONNX Runtime, batch {measured.batch}: {parity.output}"
            yield Check(title, parity.close, _figures(parity), found)


def _card(model: PublishedModel) -> tuple[Card | None, list[str]]:
    try:
        card = read_card(model.path)
    except CardError as error:
        return None, [str(error)]
    return card, card.differences(model.path, model.contract)


def _noise(model: PublishedModel) -> NDArray[np.uint8]:
    known, pipeline = model.contract.known_answer, model.contract.pipeline
    return known_input(known.seed, known.count, pipeline.height, pipeline.width)


def _categories(model: PublishedModel, count: int) -> NDArray[np.int32]:
    return known_categories(count, model.contract.categories)


def _known(title: str, known: KnownAnswer, answer: proof.Rows) -> Check:
    problem = known.mismatch(answer)
    return Check(title, problem is None, problem or f"{known.count} pictures, within {known.tolerance:g} of the scale")


def _figures(parity: Parity) -> str:
    return (
        f"largest difference {parity.largest_difference:.2g} ({parity.share:.2g} of the scale), "
        f"smallest cosine {parity.smallest_cosine:.7f}"
    )
