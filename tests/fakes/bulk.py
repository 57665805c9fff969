"""Many small pictures, and the command that embeds them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

COUNT = 40

Embed = Callable[..., subprocess.CompletedProcess[str]]


def write_pictures(folder: Path, count: int = COUNT) -> None:
    """Write PNG files of as many colours, in two subfolders."""
    random = np.random.default_rng(0)
    for number in range(count):
        place = folder / ("even" if number % 2 == 0 else "odd")
        place.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(place / f"{number:03}.png")


def command(folder: Path, output: Path) -> list[str | Path]:
    return [sys.executable, "-m", "twinset_exporter", "embed", folder, "--output", output]
