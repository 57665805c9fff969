"""What an interaction model in the repository promises: it scores pairs of a user's and an item's factors.

It ranks a few candidates again, and fills no space. Like every contract it travels as string `parameters` of the
model's `config.pbtxt`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.contract import ContractError
from twinset.known_answer import KnownAnswer

VERSION = "1"

MARK = "twinset.interaction"
"""The parameter that tells an interaction model from every other."""

USER, ITEM = "user", "item"
"""Names of the inputs, `[N, D]` float32 each: factors of `twinset.factors`, row by row a user's and an item's."""

SCORE = "score"
"""Name of the output, `[N, 1]` float32, higher being better."""

MAX_PAIRS = 4096
"""N at most: so many candidates are ranked in one request."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class InteractionContract:
    """An interaction model.

    Attributes:
        name: what it is called; with its fingerprint the name of its model.
        fingerprint: SHA-256 of what is computed and of whose factors.
        artifact: SHA-256 of its ONNX file and its runtime.
        factors: the fingerprint of the factors that it was trained on; others mean nothing to it.
        dimension: D.
        known_answer: its scores of `known_factors`.
    """

    name: str
    fingerprint: str
    artifact: str
    factors: str
    dimension: int
    known_answer: KnownAnswer

    def __post_init__(self) -> None:
        for digest in (self.fingerprint, self.artifact, self.factors):
            if not _SHA256.fullmatch(digest):
                raise ContractError(f"interaction model {self.name}: {digest!r} is not 64 hexadecimal digits")

    @property
    def model(self) -> str:
        """The model's name in the repository."""
        return f"{self.name}-{self.fingerprint[:8]}"

    @property
    def components(self) -> tuple[str, ...]:
        """The models that it is made of: none."""
        return ()

    def to_parameters(self) -> dict[str, str]:
        """Return the contract as Triton parameters."""
        known = self.known_answer
        return {
            MARK: VERSION,
            "twinset.name": self.name,
            "twinset.fingerprint": self.fingerprint,
            "twinset.artifact": self.artifact,
            "twinset.factors_fingerprint": self.factors,
            "twinset.dimension": str(self.dimension),
            "twinset.known_answer": json.dumps(
                {
                    "seed": known.seed,
                    "count": known.count,
                    "tolerance": known.tolerance,
                    "scores": known.values[SCORE].ravel().tolist(),
                }
            ),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> InteractionContract:
        """Return the contract that `parameters` carry.

        Raises:
            ContractError: a parameter is missing or malformed, or the contract is of another version.
        """
        if (version := parameters.get(MARK)) != VERSION:
            raise ContractError(
                f"the interaction model's contract is version {version}, this twinset reads version {VERSION}"
            )
        try:
            known = json.loads(parameters["twinset.known_answer"])
            scores = np.array(known["scores"], np.float32).reshape(int(known["count"]), 1)
            return cls(
                name=parameters["twinset.name"],
                fingerprint=parameters["twinset.fingerprint"],
                artifact=parameters["twinset.artifact"],
                factors=parameters["twinset.factors_fingerprint"],
                dimension=int(parameters["twinset.dimension"]),
                known_answer=KnownAnswer(
                    int(known["seed"]), int(known["count"]), float(known["tolerance"]), {SCORE: scores}
                ),
            )
        except ContractError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the interaction model's contract is malformed: {error!r}") from error


def known_factors(seed: int, count: int, dimension: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return users and items, `[count, dimension]` float32 from -1 to 1, that depend on the arguments alone.

    Their bytes are SHAKE-256 of the seed, so that every language and every NumPy makes the same ones.
    """
    size = count * dimension
    digest = hashlib.shake_256(f"twinset known factors {seed}".encode()).digest(2 * size)
    values = (np.frombuffer(digest, np.uint8).astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    return values[:size].reshape(count, dimension), values[size:].reshape(count, dimension)
