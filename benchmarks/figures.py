"""Figures: a value with its aim, its unit and the protocol it was taken by."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/figures")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: `better` says in which direction."""

    id: str
    value: float
    aim: float | None
    unit: str
    better: Literal["higher", "lower"]
    protocol: str


def machine(*packages: str) -> str:
    """Return the machine and the versions of `packages` in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def write(name: str, figures: Sequence[Figure]) -> Path:
    """Print the figures as a table, write them to `build/figures/NAME.json`, and return that path."""
    table = Table(title=name, title_justify="left")
    for heading in ("figure", "value", "aim", "unit"):
        table.add_column(heading, justify="left" if heading in ("figure", "unit") else "right")
    for figure in figures:
        bound = "" if figure.aim is None else f"{'≥' if figure.better == 'higher' else '≤'} {figure.aim:g}"
        table.add_row(figure.id, f"{figure.value:.4g}", bound, figure.unit)
    console = Console()
    console.print(table)
    for protocol in dict.fromkeys(figure.protocol for figure in figures):
        console.print(f"[dim]{protocol}[/dim]", highlight=False, soft_wrap=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
