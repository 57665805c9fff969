"""What a folder of vectors says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from twinset.folder import IdRule

Format = Literal["npy", "parquet", "text"]

MANIFEST = "manifest.json"
IDS = "ids.txt"
PARQUET = "vectors.parquet"
TEXT_ROWS = "img_embeddings.txt"
TEXT_INDEX = "indexes.txt"
TEXT_SEPARATOR = "\x01"
ID_COLUMN = "id"

VERSION = 1


class VectorsError(Exception):
    """A folder of vectors can't be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class OutputVectors:
    """An output of a model: its dimension, and the space that it fills, empty where it fills none.

    `fingerprint` is that of the output, empty where it is the model's.
    """

    dimension: int
    space: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What made the vectors of a folder.

    Attributes:
        model: the model's name in its repository.
        fingerprint: of the model, 64 hexadecimal digits.
        outputs: what is in the files, by name.
        id_rule: how a picture's id follows from its file.
        format: of the files.
        pictures: SHA-256 over the names, sizes and times of the pictures: another one is another folder.
        count: pictures in all.
        part: pictures between two points that a run which was killed goes on from.
        complete: whether the files are all there.
        failed: pictures without a vector; known once it is complete.
    """

    model: str
    fingerprint: str
    outputs: Mapping[str, OutputVectors]
    id_rule: IdRule
    format: Format
    pictures: str
    count: int
    part: int
    complete: bool = False
    failed: int = 0

    def fingerprint_of(self, output: str) -> str:
        """Return the fingerprint of what an output computes."""
        return self.outputs[output].fingerprint or self.fingerprint

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Return the manifest of `folder`, None where there is none.

        Raises:
            VectorsError: it can't be read, is malformed, or is of another version.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values.pop("version")
            if version != VERSION:
                raise VectorsError(f"{path} is of version {version}, this twinset reads version {VERSION}")
            outputs = {name: OutputVectors(**output) for name, output in values.pop("outputs").items()}
            manifest = cls(outputs=outputs, **values)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise VectorsError(f"{path} can't be read: {error.strerror}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VectorsError(f"{path} is malformed ({error!r}): make the vectors anew") from error
        if manifest.id_rule not in get_args(IdRule) or manifest.format not in get_args(Format):
            raise VectorsError(
                f"{path} names the id rule {manifest.id_rule!r} and the format {manifest.format!r}: one is unknown here"
            )
        return manifest
