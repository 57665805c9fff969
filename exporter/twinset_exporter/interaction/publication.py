"""An interaction network's way into the repository: convert, compare with Keras, ask a Triton, publish."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.contract import FP32
from twinset.factors import FactorFolder, FactorsError, open_factors
from twinset.interaction_contract import ITEM, MAX_PAIRS, SCORE, USER, InteractionContract, known_factors
from twinset.known_answer import KnownAnswer
from twinset_exporter import card, graph, keras_file, parity, tensorflow_noise, triton_proof
from twinset_exporter.digests import file_sha256
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import check_target
from twinset_exporter.fingerprint import artifact, of_network
from twinset_exporter.interaction import triton_config
from twinset_exporter.interaction.comparison import Pairs, compare, sample, worst
from twinset_exporter.interaction.runtime import InteractionOnTriton, InteractionRuntime
from twinset_exporter.own_triton import own_triton
from twinset_exporter.proof import BatchParity
from twinset_exporter.repository import CONFIG, MODEL, PublishedInteraction, Repository
from twinset_exporter.steps import Steps
from twinset_exporter.targets import Target
from twinset_exporter.weights import check_finite

if TYPE_CHECKING:
    import keras

NAME = "interaction"

_VERSION = 1
_KNOWN_SEED, _KNOWN_COUNT, _TOLERANCE = 0, 8, 0.01
_PAIRS = "pairs of factors"


@dataclass(frozen=True, slots=True)
class Request:
    """What to publish.

    Attributes:
        network: the `.keras` file, from `user` and `item`, `[N, D]` each, to `[N, 1]`.
        factors: the folder of the factors that it was trained on.
        target: the machine that it is for.
        triton: ask a Triton too before it is published, where one can be started here.
    """

    network: Path
    factors: Path
    target: Target = Target.CPU
    triton: bool = True


def publish(request: Request, repository: Repository, steps: Steps) -> tuple[PublishedInteraction, bool]:
    """Publish the network after it proved to compute what Keras does, and return it, and whether it is new.

    Raises:
        UsageError: a file named by the caller is of no use.
        ExportError: the graph doesn't compute what Keras does, Triton doesn't, or the repository fails; nothing was
            published.
    """
    factors = _open(request.factors)
    with steps.step("Load TensorFlow"):
        tensorflow_noise.silence()
        import tf2onnx  # noqa: F401 - it brings TensorFlow and Keras; loaded here so that the step's time is theirs
    model = _load(request.network, factors.manifest.dimension)
    with steps.step("Convert it to ONNX"):
        content = graph.interaction_to_onnx(model)
        runtime = InteractionRuntime(content)
    users = factors.users.values if len(factors.users) else factors.fold_in.factors(_NOBODY, _NOBODY)[np.newaxis]
    pairs = sample(users, factors.items.values)
    with steps.step(f"Compare it with Keras on {MAX_PAIRS:,} pairs"):
        expected = np.asarray(
            model.predict({USER: pairs[0], ITEM: pairs[1]}, batch_size=MAX_PAIRS, verbose=0), np.float32
        ).reshape(-1)
        batches = compare(expected, runtime, pairs)
    steps.note(str(worst(batches)))
    parity.gate((worst(batches),))
    contract = _contract(model, content, factors, runtime)
    files = {CONFIG: triton_config.render(contract, request.target).encode(), MODEL: content}
    told = triton_proof.unproved(triton_proof.NOT_ASKED)
    if request.triton:
        told = _through_triton(contract, files, request.target, expected, pairs, steps)
    sections = _sections(request, contract, batches, told)
    with steps.step("Publish"):
        new = repository.publish(contract, card.with_identity(contract, files, sections))
    there = repository.model(contract.model)
    if not isinstance(there, PublishedInteraction):
        raise ExportError(f"{there.path} broke while it was published: publish it again")
    check_target(there, request.target)
    return there, new


_NOBODY: NDArray[np.int64] = np.empty(0, np.int64)


def _open(folder: Path) -> FactorFolder:
    try:
        factors = open_factors(folder)
        factors.check()
    except FactorsError as error:
        raise UsageError(str(error)) from error
    if not len(factors.items):
        raise UsageError(f"{folder} has no items: train on some")
    return factors


def _load(path: Path, dimension: int) -> keras.Model:
    if path.suffix != keras_file.SUFFIX or not path.is_file():
        raise UsageError(f"no file {path}: an interaction model is a {keras_file.SUFFIX} file")
    model = keras_file.load(path)
    inputs = {tensor.name: tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()}
    outputs = [tuple(tensor.shape) for tensor in getattr(model, "outputs", None) or ()]
    if list(inputs.items()) != [(USER, (None, dimension)), (ITEM, (None, dimension))] or outputs != [(None, 1)]:
        raise UsageError(
            f"{path} takes {inputs} and gives {outputs}: expected {USER} and {ITEM}, (None, {dimension}) each as in "
            "the factors, and one score, (None, 1)"
        )
    check_finite(str(path), ((variable.path, variable) for variable in model.weights))
    return model


def _contract(
    model: keras.Model, content: bytes, factors: FactorFolder, runtime: InteractionRuntime
) -> InteractionContract:
    described = {"interaction_version": _VERSION, "factors": factors.manifest.fingerprint}
    known = known_factors(_KNOWN_SEED, _KNOWN_COUNT, factors.manifest.dimension)
    scores = runtime.scores(*known, _KNOWN_COUNT)[:, np.newaxis]
    return InteractionContract(
        name=NAME,
        fingerprint=of_network(described, model),
        artifact=artifact(content),
        factors=factors.manifest.fingerprint,
        dimension=factors.manifest.dimension,
        known_answer=KnownAnswer(_KNOWN_SEED, _KNOWN_COUNT, _TOLERANCE, {SCORE: scores}),
    )


def _through_triton(
    contract: InteractionContract,
    files: dict[str, bytes],
    target: Target,
    expected: NDArray[np.float32],
    pairs: Pairs,
    steps: Steps,
) -> dict[str, Any]:
    """Return what the card holds of Triton, which is started for a copy of the model.

    Raises:
        ExportError: Triton refuses the model, gives no answer, or another one.
    """
    if reason := triton_proof.why_not(target):
        steps.note(f"Not proved through Triton: {reason}")
        return triton_proof.unproved(reason)
    with (
        steps.step(f"Compare Triton with Keras on {MAX_PAIRS:,} pairs"),
        tempfile.TemporaryDirectory(prefix="twinset-staged-") as folder,
    ):
        staged = Repository(Path(folder))
        staged.publish(contract, card.with_identity(contract, files, {}))
        with own_triton(staged.root, contract.model) as (address, name), InteractionOnTriton(address, name) as served:
            batches = compare(expected, served, pairs)
            version = served.version()
    found = worst(batches)
    steps.note(str(found))
    if not found.close:
        raise ExportError(
            f"refused: Triton doesn't answer what Keras does ({found}). It was not published. Install its runtime anew "
            "(make setup), or publish the model unproved with --no-triton"
        )
    return triton_proof.TritonProof(version, "keras", _PAIRS, batches).to_json()


def _sections(
    request: Request, contract: InteractionContract, batches: tuple[BatchParity, ...], triton: dict[str, Any]
) -> dict[str, Any]:
    return {
        "target": request.target.value,
        "precision": FP32,
        "interaction": {
            "file": request.network.name,
            "sha256": file_sha256(request.network),
            "factors": contract.factors,
            "dimension": contract.dimension,
            "most_pairs": MAX_PAIRS,
        },
        "parity": {
            "between": ["keras", "onnxruntime"],
            "pictures": _PAIRS,
            "batches": {str(batch.batch): batch.to_json() for batch in batches},
        },
        card.TRITON: triton,
        "gate": {
            "kind": "parity",
            "largest_share": parity.LARGEST_SHARE,
            "smallest_cosine": parity.SMALLEST_COSINE,
            "passed": True,  # otherwise nothing is published
        },
    }
