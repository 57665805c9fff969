"""The proof that Triton answers what the network does: on a copy of a model, before anybody may see the model itself.

A publication never changes, so what its card says of Triton has to be known before: the files are staged in a
repository of their own, a Triton is started for them, and asked. Where none can be started the card says why, and
`twinset-exporter prove --record` may add the proof later.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset.contract import ModelContract
from twinset_exporter import card, parity
from twinset_exporter.errors import ExportError
from twinset_exporter.own_triton import own_triton
from twinset_exporter.proof import BatchParity, Rows, Run, compare, worst
from twinset_exporter.repository import Repository
from twinset_exporter.steps import Steps
from twinset_exporter.targets import Target
from twinset_exporter.triton_model import TritonModel

NOT_ASKED = "it was left out, by --no-triton"

Against = Literal["keras", "onnxruntime"]

_NAMES: Mapping[Against, str] = {"keras": "Keras", "onnxruntime": "ONNX Runtime"}
_NEEDED = {"twinset_server": "twinset[server]", "tritonclient": "twinset[server]", "pytriton": "twinset[embedded]"}


@dataclass(frozen=True, slots=True)
class TritonProof:
    """How far Triton's answers are from the network's.

    Attributes:
        version: Triton's.
        against: whose answers those of Triton were compared with.
        pictures: where the pictures came from.
        batches: the parity at every size.
    """

    version: str
    against: Against
    pictures: str
    batches: tuple[BatchParity, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the card holds it."""
        return {
            "proved": True,
            "version": self.version,
            "against": self.against,
            "pictures": self.pictures,
            "batches": {str(batch.batch): batch.to_json() for batch in self.batches},
        }


def unproved(reason: str) -> dict[str, Any]:
    """Return what a card holds of a model that no Triton was asked for."""
    return {"proved": False, "reason": reason}


def why_not(target: Target) -> str:
    """Return why no Triton for `target` can be started here, empty where one can."""
    if target is not Target.CPU:
        return f"it is for a {target.value}, and the Triton in the box computes on the processor"
    for package, extra in _NEEDED.items():
        if importlib.util.find_spec(package) is None:
            return f"no Triton is installed here (pip install '{extra}')"
    return ""


@dataclass(frozen=True, slots=True)
class Staged:
    """A whole model that isn't published yet.

    Attributes:
        contract: what it promises.
        files: contents by path within its folder, but for the cards.
        target: the machine that it is for.
        components: of an ensemble, the folders of the published models that it is made of.
    """

    contract: ModelContract
    files: Mapping[str, bytes]
    target: Target
    components: Sequence[Path] = ()

    def prove(
        self,
        against: Against,
        expected: Rows,
        pictures: NDArray[np.uint8],
        source: str,
        steps: Steps,
        categories: NDArray[np.int32] | None = None,
    ) -> dict[str, Any]:
        """Return what its card holds of Triton.

        Args:
            against: who gave what is expected.
            expected: per output `[N, D]`, what Triton should answer.
            pictures: `[N, H, W, 3]` uint8 RGB.
            source: what the card calls the pictures.
            steps: told of the work.
            categories: `[N, 1]`, what `expected` was answered with; None where the model takes none.

        Raises:
            ExportError: Triton refuses the model, gives no answer, or another one.
        """
        if reason := why_not(self.target):
            steps.note(f"Not proved through Triton: {reason}")
            return unproved(reason)
        with steps.step(f"Compare Triton with {_NAMES[against]} on {len(pictures)} pictures"):
            found = self._ask(against, expected, pictures, source, categories)
        for one in worst(found.batches):
            steps.note(str(one))
            if not one.close:
                raise ExportError(
                    f"refused: Triton doesn't answer what {_NAMES[against]} does ({one}; allowed: "
                    f"{parity.LARGEST_SHARE:g} of the scale, cosine {parity.SMALLEST_COSINE}). It was not published. "
                    "Install its runtime anew (make setup), or publish the model unproved with --no-triton"
                )
        return found.to_json()

    def _ask(
        self,
        against: Against,
        expected: Rows,
        pictures: NDArray[np.uint8],
        source: str,
        categories: NDArray[np.int32] | None,
    ) -> TritonProof:
        with tempfile.TemporaryDirectory(prefix="twinset-staged-") as folder:
            repository = Repository(Path(folder))
            repository.publish(self.contract, card.with_card(self.contract, self.files))
            for component in self.components:
                (repository.root / component.name).symlink_to(component.resolve(), target_is_directory=True)
            with (
                own_triton(repository.root, self.contract.model) as (address, name),
                TritonModel(address, name) as served,
            ):
                batches = compare(expected, by(served, list(expected)), pictures, categories)
                return TritonProof(served.version(), against, source, batches)


def by(served: TritonModel, outputs: list[str]) -> Run:
    """Return what `proof.compare` asks Triton with."""
    return lambda pictures, batch, categories: served.run(pictures, batch, outputs, categories)
