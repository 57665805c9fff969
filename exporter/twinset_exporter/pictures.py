"""The real pictures that the parity gate runs on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.images import PictureError, PicturePipeline, decode
from twinset_exporter.errors import UsageError

PACKAGED = Path(__file__).parent / "parity_pictures"
"""32 test pictures of Fashion-MNIST."""

MOST = 128
"""So many of a folder's pictures are used, spread evenly over it: more make the gate slower, not sharper."""

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def name(folder: Path | None) -> str:
    """Return what a card calls the pictures below `folder`, None for those in the box."""
    return "in the box" if folder is None else folder.name


def load(folder: Path, pipeline: PicturePipeline) -> NDArray[np.uint8]:
    """Return up to `MOST` pictures from below `folder`, `[N, H, W, 3]` uint8 RGB, decoded as the server will.

    Raises:
        UsageError: there is no such folder, no picture in it, or one that can't be decoded.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}: check the path given to --pictures")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise UsageError(f"no pictures below {folder}: --pictures takes a folder with {', '.join(sorted(_SUFFIXES))}")
    stride = -(-len(files) // MOST)
    return np.stack([_decode(path, pipeline) for path in files[::stride]])


def _decode(path: Path, pipeline: PicturePipeline) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), pipeline)
    except PictureError as error:
        raise UsageError(f"{path}: {error}; move it out of the folder, or choose another with --pictures") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; choose another folder with --pictures") from error
