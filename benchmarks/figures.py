"""Figures: a value with its aim, its unit and the protocol it was taken by."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/figures")
COLUMNS = ("figure", "value", "spread", "bound", "aim", "unit")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row.

    Attributes:
        id: such as `ml100k.auc.default`.
        value: the mean, where it was taken with several seeds.
        aim: what is hoped for, None where nothing is.
        unit: of the value.
        better: in which direction.
        protocol: how it was taken.
        bound: what it must reach, None where nothing must be.
        spread: standard deviation over the seeds, None where there was one.
    """

    id: str
    value: float
    aim: float | None
    unit: str
    better: Literal["higher", "lower"]
    protocol: str
    bound: float | None = None
    spread: float | None = None

    @classmethod
    def over_seeds(
        cls,
        id: str,  # noqa: A002 - as the row has it
        values: Sequence[float],
        aim: float | None,
        unit: str,
        better: Literal["higher", "lower"],
        protocol: str,
        bound: float | None = None,
    ) -> Self:
        """Return the mean of values that differ by their seed alone, with their spread."""
        spread = statistics.stdev(values) if len(values) > 1 else None
        told = f"mean of {len(values)} seeds; {protocol}" if len(values) > 1 else protocol
        return cls(id, statistics.fmean(values), aim, unit, better, told, bound, spread)

    def reaches(self, limit: float | None) -> bool:
        """Return whether the value is as good as a limit; it is where there is none."""
        if limit is None:
            return True
        return self.value >= limit if self.better == "higher" else self.value <= limit


def machine(*packages: str) -> str:
    """Return the machine and the versions of `packages` in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


def write(name: str, figures: Sequence[Figure]) -> Path:
    """Print the figures as a table, write them to `build/figures/NAME.json`, and return that path."""
    console = Console()
    console.print(table(name, figures))
    for protocol in dict.fromkeys(figure.protocol for figure in figures):
        console.print(f"[dim]{protocol}[/dim]", highlight=False, soft_wrap=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    return path


def read(path: Path) -> list[Figure]:
    """Return the figures that `write` wrote."""
    return [Figure(**row) for row in json.loads(path.read_text())]


def table(title: str, figures: Sequence[Figure]) -> Table:
    """Return a table with every figure beside its bound and its aim."""
    found = Table(title=title, title_justify="left")
    for heading in COLUMNS:
        found.add_column(heading, justify="left" if heading in ("figure", "unit") else "right")
    for figure in figures:
        found.add_row(*cells(figure))
    return found


def cells(figure: Figure) -> tuple[str, str, str, str, str, str]:
    """Return a figure's row: id, value, spread, bound, aim, unit; a bound or an aim that it misses says so."""
    sign = "≥" if figure.better == "higher" else "≤"
    bound, aim = (
        "" if limit is None else f"{sign}\u00a0{limit:g}{'' if figure.reaches(limit) else ' missed'}"
        for limit in (figure.bound, figure.aim)
    )
    spread = "" if figure.spread is None else f"±\u00a0{figure.spread:.2g}"
    return figure.id, f"{figure.value:.4g}", spread, bound, aim, figure.unit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
