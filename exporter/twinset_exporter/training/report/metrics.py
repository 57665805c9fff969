"""`metrics.json`: the figures of a training for programs to read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from twinset_exporter.training.report.report import Report


def write(path: Path, report: Report) -> None:
    """Write `{"figures": [{"id", "value", "better", "protocol"}], "splits": {part: checksum}}`.

    Raises:
        OSError: the file can't be written.
    """
    content = {"figures": [asdict(figure) for figure in report.figures], "splits": dict(report.splits)}
    path.write_text(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n", encoding="utf-8")
