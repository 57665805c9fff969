"""Folders of features as `twinset-exporter embed` writes them, without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from twinset.vectors.manifest import IDS, MANIFEST, Manifest, OutputVectors


def write_features(folder: Path, ids: Sequence[str], rows: np.ndarray, *, complete: bool = True) -> Path:
    """Write `rows`, `[N, D]`, under `ids`, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "features.npy", rows.astype("<f4"))
    (folder / IDS).write_text("".join(f"{item_id}\n" for item_id in ids))
    manifest = Manifest(
        model="tiny-01234567",
        fingerprint="01234567" * 8,
        outputs={"features": OutputVectors(rows.shape[1])},
        id_rule="path",
        format="npy",
        pictures=hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        count=len(ids),
        part=256,
        complete=complete,
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder
