"""Fingerprints of heads and ensembles.

Each output of a head has one of its own, over the backbone and over those layers alone that lead to it; so the vectors
of one space stay good when another head, or another output of the same, is trained anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from twinset.contract import OutputContract, SpaceContract
from twinset.pair_contract import PairContract
from twinset_exporter.fingerprint import of_network
from twinset_exporter.heads.network import HeadOutput
from twinset_exporter.outputs import SMALLEST_SQUARED_NORM

_VERSION = 1


def of_output(backbone: str, output: HeadOutput, categories: Sequence[str]) -> str:
    """Return the fingerprint, 64 hexadecimal digits, of a head's output on the backbone of the fingerprint `backbone`.

    Its name is not in it: what is computed is. So are `categories`, the names of what the head's second input counts,
    where the output depends on it: in another order the same item gets another vector.
    """
    described = {
        "head_version": _VERSION,
        "backbone": backbone,
        "normalisation": output.output.normalisation,
        "smallest_squared_norm": SMALLEST_SQUARED_NORM,
        **({"categories": list(categories)} if output.takes_category else {}),
    }
    return of_network(described, output.network)


def of_head(backbone: str, outputs: Mapping[str, str]) -> str:
    """Return the fingerprint of a head, from those of its outputs by name."""
    return _digest({"head_version": _VERSION, "backbone": backbone, "outputs": dict(outputs)})


def of_ensemble(
    outputs: Mapping[str, OutputContract], spaces: Sequence[SpaceContract], pair: PairContract | None = None
) -> str:
    """Return the fingerprint of an ensemble.

    It is of its outputs, their names and classes, the spaces that they fill, and how a pair becomes a probability: a
    calibration is switched with the vectors that it is for.
    """
    return _digest(
        {
            "ensemble_version": _VERSION,
            "outputs": {name: [output.fingerprint, *output.classes] for name, output in outputs.items()},
            "spaces": {space.name: [space.output, space.dimension, space.metric.value] for space in spaces},
            **({} if pair is None else {"pair": asdict(pair)}),
        }
    )


def artifact(components: Sequence[str]) -> str:
    """Return the artifact of an ensemble, from those of its components in their order."""
    return _digest({"components": list(components)})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
