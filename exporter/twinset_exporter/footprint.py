"""Measures a model in a process of its own: `python footprint.py INPUT HEIGHT WIDTH MODEL.onnx [HEAD.onnx]...`.

Prints JSON.

Alone, because the exporter's process is full of TensorFlow: its memory and its threads would be measured too. Imports
nothing of twinset for the same reason.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

BATCHES = (1, 8, 32)
_MOST_RUNS = 20
_LONGEST_S = 0.5  # a size


def measure(name: str, height: int, width: int, model: Path, heads: Sequence[Path]) -> dict[str, object]:
    """Return milliseconds a batch (the median) by batch size, and the peak of the process's resident memory in MB.

    A head's input is the output of the model that has its name. A second one, of integers, is a category: unknown.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session, *others = (
        ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]) for file in (model, *heads)
    )
    names = [output.name for output in session.get_outputs()]

    def run(pictures: np.ndarray) -> None:
        rows = dict(zip(names, session.run(names, {name: pictures}), strict=True))
        for head in others:
            unknown = np.zeros((len(pictures), 1), np.int32)
            head.run(None, {given.name: rows.get(given.name, unknown) for given in head.get_inputs()})

    random = np.random.default_rng(0)
    latency_ms = {}
    # The largest first: the others then fit into the memory that it took, as in a server that has seen it.
    for size in sorted(BATCHES, reverse=True):
        pictures = random.integers(0, 256, (size, height, width, 3), dtype=np.uint8)
        run(pictures)  # the first one allocates
        times: list[float] = []
        begun = time.perf_counter()
        while not times or (len(times) < _MOST_RUNS and time.perf_counter() - begun < _LONGEST_S):
            started = time.perf_counter()
            run(pictures)
            times.append(time.perf_counter() - started)
        latency_ms[str(size)] = round(1000 * statistics.median(times), 3)
    return {"latency_ms": {str(size): latency_ms[str(size)] for size in BATCHES}, "peak_memory_mb": _peak_kb() // 1024}


def _peak_kb() -> int:
    # From /proc: getrusage's peak survives the fork and would be that of the exporter.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError("/proc/self/status tells no peak of memory")


if __name__ == "__main__":
    input_name, rows, columns, *files = sys.argv[1:]
    print(json.dumps(measure(input_name, int(rows), int(columns), Path(files[0]), [Path(file) for file in files[1:]])))
