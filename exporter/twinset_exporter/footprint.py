"""Measures one ONNX file in a process of its own: `python footprint.py MODEL.onnx INPUT HEIGHT WIDTH`, prints JSON.

Alone, because the exporter's process is full of TensorFlow: its memory and its threads would be measured too. Imports
nothing of twinset for the same reason.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

BATCHES = (1, 8, 32)
_MOST_RUNS = 20
_LONGEST_S = 0.5  # a size


def measure(model: Path, name: str, height: int, width: int) -> dict[str, object]:
    """Return milliseconds a batch (the median) by batch size, and the peak of the process's resident memory in MB."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    latency_ms = {}
    # The largest first: the others then fit into the memory that it took, as in a server that has seen it.
    for size in sorted(BATCHES, reverse=True):
        pictures = random.integers(0, 256, (size, height, width, 3), dtype=np.uint8)
        session.run(None, {name: pictures})  # the first one allocates
        times: list[float] = []
        begun = time.perf_counter()
        while not times or (len(times) < _MOST_RUNS and time.perf_counter() - begun < _LONGEST_S):
            started = time.perf_counter()
            session.run(None, {name: pictures})
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
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
