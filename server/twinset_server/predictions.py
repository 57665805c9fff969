"""Classes that a model predicts for a picture, from an output that holds their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinset.contract import ModelContract
from twinset_server.domain import Float32Array, Prediction
from twinset_server.errors import NoClasses


def likeliest(probabilities: Float32Array, classes: Sequence[str], most: int) -> list[Prediction]:
    """Return the `most` likeliest classes, or all where there are fewer; of equal ones the first comes first.

    Args:
        probabilities: `[K]`, of the classes.
        classes: their K names.
        most: 1 or more.
    """
    order = np.argsort(-probabilities, kind="stable")[:most]
    return [Prediction(classes[place], float(probabilities[place])) for place in order]


def classes_of(contract: ModelContract, output: str) -> tuple[str, ...]:
    """Return the names of the classes whose probabilities `output` holds.

    Raises:
        NoClasses: the model has no such output, or no probabilities of classes in it.
    """
    outputs = contract.class_outputs()
    if output not in outputs:
        known = f"it has them in {', '.join(outputs)}" if outputs else "none of its outputs holds any"
        raise NoClasses(
            "catalog.fill_category",
            f"model {contract.model} has no probabilities of classes in an output {output!r}, which is to fill missing "
            f"categories (catalog.fill_category): {known}",
        )
    return outputs[output]
