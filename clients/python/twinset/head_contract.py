"""What a head in the repository is: a part of ensembles, from a backbone's features to named outputs.

Nobody asks a head by itself, so its contract says only what it is and whose features it takes. The contract with the
server is the ensemble's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from twinset.contract import ContractError

VERSION = "1"

MARK = "twinset.head"
"""The parameter that tells a head from a model which serves."""

INPUT = "features"
"""Name of a head's input, `[N, D]` float32: the backbone's output of that name."""

CATEGORY = "category"
"""Name of the second input of a head that takes categories; the ensemble's input behind it is `contract.CATEGORY`."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HeadContract:
    """A head.

    Attributes:
        name: what it is called; with its fingerprint the name of its model.
        fingerprint: SHA-256 of what is computed, from the picture on: backbone, head and outputs.
        artifact: SHA-256 of the head's ONNX file and its runtime.
        backbone: fingerprint of the backbone whose features it takes.
        outputs: the fingerprint of each output.
        categories: the names of what its second input counts from 1 on; empty where it takes the features alone.
    """

    name: str
    fingerprint: str
    artifact: str
    backbone: str
    outputs: Mapping[str, str]
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for digest in (self.fingerprint, self.artifact, self.backbone, *self.outputs.values()):
            if not _SHA256.fullmatch(digest):
                raise ContractError(f"head {self.name}: {digest!r} is not 64 hexadecimal digits")

    @property
    def model(self) -> str:
        """The model's name in the repository."""
        return f"{self.name}-{self.fingerprint[:8]}"

    def to_parameters(self) -> dict[str, str]:
        """Return the contract as Triton parameters."""
        return {
            MARK: VERSION,
            "twinset.name": self.name,
            "twinset.fingerprint": self.fingerprint,
            "twinset.artifact": self.artifact,
            "twinset.backbone_fingerprint": self.backbone,
            "twinset.outputs": json.dumps(dict(self.outputs)),
            **({"twinset.categories": json.dumps(self.categories)} if self.categories else {}),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> HeadContract:
        """Return the contract that `parameters` carry.

        Raises:
            ContractError: a parameter is missing or malformed, or the contract is of another version.
        """
        if (version := parameters.get(MARK)) != VERSION:
            raise ContractError(f"the head's contract is version {version}, this twinset reads version {VERSION}")
        try:
            return cls(
                name=parameters["twinset.name"],
                fingerprint=parameters["twinset.fingerprint"],
                artifact=parameters["twinset.artifact"],
                backbone=parameters["twinset.backbone_fingerprint"],
                outputs=dict(json.loads(parameters["twinset.outputs"])),
                categories=tuple(json.loads(parameters.get("twinset.categories", "[]"))),
            )
        except ContractError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(f"the head's contract is malformed: {error!r}") from error
