"""What the client returns of pictures: vectors, and the classes that a model predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinset.errors import TwinsetError
from twinset.items import Vector


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class, and its probability, 0 to 1."""

    class_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Embedding:
    """The outputs of one picture by name, in the order asked for, unless `error` says why there are none.

    Attributes:
        outputs: the vectors.
        model: the model's name in the repository.
        error: why there are none.
        predictions: the likeliest classes by output, the likeliest first; empty where none were asked for.
        category_unknown: the category that came with the picture is none that the model knows.
    """

    outputs: Mapping[str, Vector]
    model: str = ""
    error: TwinsetError | None = None
    predictions: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)
    category_unknown: bool = False

    def __getitem__(self, output: str) -> Vector:
        """Return an output.

        Raises:
            TwinsetError: the picture's error.
            KeyError: the output wasn't asked for.
        """
        if self.error is not None:
            raise self.error
        return self.outputs[output]
