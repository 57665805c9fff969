"""Features of a folder of pictures, for programs that train on them: embedded once, kept in build/features."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.service import export
from twinset_exporter.training.features import Features, read

FOLDER = Path("build/features")
REPOSITORY = Path("build/model_repository")
BACKBONE = "efficientnet_lite0"


def embedded(pictures: Path, name: str, given: Path | None = None) -> Features:
    """Return the features of `pictures` by EfficientNet-Lite0, in FOLDER under `name`, or those in the folder `given`.

    A run that was stopped goes on; one that was done is only read.
    """
    if given is not None:
        return read(given)
    output = FOLDER / name
    model = export(BACKBONE, REPOSITORY)
    command = ["embed", str(pictures), "--repository", str(REPOSITORY), "--model", model]
    command += ["--outputs", "features", "--output", str(output)]
    subprocess.run([sys.executable, "-m", "twinset_exporter", *command], check=True)
    return read(output)
