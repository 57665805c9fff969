"""The gate of heads on a backbone of lower precision that serves the fp32 fingerprint.

Such a backbone was judged by its own vectors. A space of a head is to hold vectors made on both, so each is judged too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Gate, ModelContract
from twinset.head_contract import INPUT
from twinset.known_answer import known_categories
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.heads.network import HeadNetwork
from twinset_exporter.precision import gate
from twinset_exporter.repository import MODEL, BrokenModel, Repository
from twinset_exporter.runtime import Runtime

_LEAST = 32


def fp32_features(repository: Repository, backbone: ModelContract, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features, `[N, D]`, by the fp32 model that `backbone` stands in for.

    Raises:
        ExportError: it isn't in the repository as it was published.
    """
    name = f"{backbone.backbone}-{backbone.fingerprint[:8]}"
    there = repository.model(name)
    if isinstance(there, BrokenModel) or there.problems():
        raise ExportError(
            f"{name}, the fp32 model that the backbone stands in for, is missing or damaged: export it first"
        )
    return Runtime((there.path / MODEL).read_bytes()).run(pictures)[INPUT]


def judge(
    networks: Sequence[HeadNetwork], given: NDArray[np.float32], reference: NDArray[np.float32], record: Gate
) -> None:
    """Let heads through whose vectors on features of the lower precision find what those on fp32 features find.

    Args:
        networks: the heads.
        given: `[N, D]`, features at the lower precision.
        reference: `[N, D]`, those of the same pictures at fp32.
        record: the backbone's own gate.

    Raises:
        UsageError: there are too few pictures to judge on.
        ExportError: queries in a space keep too few neighbours.
    """
    if len(given) < _LEAST:
        raise UsageError(f"--pictures: heads on a lower precision are judged on {_LEAST} pictures or more")
    for one in networks:
        # With unknown and known categories in turn: on both sides the same.
        categories = known_categories(len(given), one.categories)
        fp32, lower = one.run(reference, categories), one.run(given, categories)
        for output in one.outputs:
            if output.use.space is None or output.use.metric is None:
                continue
            recall = gate.queries_recall(fp32[output.name], lower[output.name], output.use.metric)
            if recall < gate.SERVES_FP32:
                raise ExportError(
                    f"refused: the backbone serves the fp32 fingerprint {record.reference_fingerprint[:8]} (recall "
                    f"{record.queries_recall:.4f}), but in the space {output.use.space} the head's queries on its "
                    f"features keep only {recall:.4f} of the neighbours (at least {gate.SERVES_FP32}, over "
                    f"{len(given)} pictures). Put the heads on the fp32 backbone, or judge on more pictures with "
                    "--pictures"
                )
