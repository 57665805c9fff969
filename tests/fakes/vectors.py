"""Folders of vectors in each of the three formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fakes.server import DIMENSION, FINGERPRINT, MODEL
from twinset.folder import IdRule
from twinset.vectors import Format, Manifest, OutputVectors

Vectors = Mapping[str, Sequence[float]]


def unit(*leading: float) -> list[float]:
    """Return a vector of the fake server's dimension and unit length, whose first components go as `leading`."""
    values = np.zeros(DIMENSION)
    values[: len(leading)] = leading
    return list(values / np.linalg.norm(values))


def write_vectors(folder: Path, kind: Format, vectors: Vectors) -> None:
    """Write vectors by id (by file name in the format text), as a foreign tool would."""
    folder.mkdir(exist_ok=True)
    if kind == "npy":
        np.save(folder / "embedding.npy", np.array(list(vectors.values()), dtype=np.float32))
        (folder / "ids.txt").write_text("".join(f"{item_id}\n" for item_id in vectors))
    elif kind == "parquet":
        kinds = pa.list_(pa.float32())
        columns = [pa.array(list(vectors)), pa.array([list(values) for values in vectors.values()], kinds)]
        pq.write_table(pa.table(columns, names=["id", "embedding"]), folder / "vectors.parquet")
    else:
        rows = [" ".join(f"{number:.9g}" for number in values) for values in vectors.values()]
        (folder / "img_embeddings.txt").write_text("".join(f"{row}\n" for row in rows))
        (folder / "indexes.txt").write_text("".join(f"{name}\x01{row}\n" for row, name in enumerate(vectors)))


def write_manifest(
    folder: Path, kind: Format, count: int, *, fingerprint: str = FINGERPRINT, rule: IdRule = "path", done: bool = True
) -> None:
    """Write the manifest that the exporter would, for the fake server's model."""
    outputs = {"embedding": OutputVectors(DIMENSION, "visual")}
    manifest = Manifest(MODEL, fingerprint, outputs, rule, kind, "0" * 64, count, 256, done)
    (folder / "manifest.json").write_text(manifest.to_json())
