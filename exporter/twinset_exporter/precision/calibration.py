"""The pictures for a lower precision: some to calibrate on, others to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.images import PictureError, PicturePipeline, decode
from twinset_exporter.errors import UsageError

LEAST = 200
"""Fewer calibrate badly and judge loosely: ten neighbours among fifty pictures are easily kept."""

_MOST = 1000
_CALIBRATE_SHARE = 3  # every third
_LEAST_WITHOUT_CALIBRATION = 32
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True, slots=True)
class Pictures:
    """`[N, H, W, 3]` uint8 RGB each; no picture is in both."""

    calibrate: NDArray[np.uint8]
    judge: NDArray[np.uint8]


def load(folder: Path, pipeline: PicturePipeline, *, calibrates: bool) -> Pictures:
    """Return pictures from below `folder`, up to 1,000, spread evenly over it and decoded as the server will.

    Args:
        folder: searched with all its subfolders.
        pipeline: how the pictures are made.
        calibrates: set every third picture aside to calibrate on; else all judge.

    Raises:
        UsageError: there is no such folder, too few pictures in it, or one that can't be decoded.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}: check the path given to --calibration")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    least = LEAST if calibrates else _LEAST_WITHOUT_CALIBRATION
    if len(files) < least:
        raise UsageError(
            f"{len(files)} pictures below {folder}: --calibration takes a folder with {least} or more of "
            f"{', '.join(sorted(_SUFFIXES))}"
        )
    files = files[:: -(-len(files) // _MOST)]
    decoded = np.stack([_decode(path, pipeline) for path in files])
    calibrating = np.arange(len(files)) % _CALIBRATE_SHARE == (0 if calibrates else -1)
    return Pictures(decoded[calibrating], decoded[~calibrating])


def _decode(path: Path, pipeline: PicturePipeline) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), pipeline)
    except PictureError as error:
        raise UsageError(f"{path}: {error}; move it out of the folder given to --calibration") from error
