"""How fast a graph is on this machine, and how much memory it takes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinset import contract
from twinset.images import PicturePipeline
from twinset_exporter import footprint
from twinset_exporter.errors import ExportError


def measure(model: bytes, pipeline: PicturePipeline, heads: Sequence[bytes] = ()) -> dict[str, Any]:
    """Return what `footprint` measures of the graph, with `heads` behind it, and the machine that it was measured on.

    Raises:
        ExportError: the graph didn't run in a process of its own, or there is no place for its file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="twinset-footprint-") as folder:
            files = []
            for place, graph in enumerate((model, *heads)):
                files.append(Path(folder) / f"{place}.onnx")
                files[-1].write_bytes(graph)
            sizes = [str(pipeline.height), str(pipeline.width)]
            ran = subprocess.run(  # noqa: S603 - a list of arguments, and no shell
                [sys.executable, footprint.__file__, contract.INPUT, *sizes, *map(str, files)],
                check=True,
                capture_output=True,
                text=True,
            )
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().rpartition("\n")[2] or f"it ended with {error.returncode}"
        raise ExportError(f"the graph could not be measured in a process of its own ({reason})") from error
    except OSError as error:
        raise ExportError(f"the graph could not be measured ({error}): set TMPDIR to a folder with space") from error
    measured: dict[str, Any] = json.loads(ran.stdout)
    return {**measured, "machine": machine()}


def machine() -> dict[str, Any]:
    """Return what this machine is, as far as figures depend on it."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
