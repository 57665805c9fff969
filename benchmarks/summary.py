"""All figures that lie in build/figures, in one table and one page: value and spread beside bound and aim.

`make quality` ends with it. It exits with 1 where a figure misses its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.figures import COLUMNS, FOLDER, Figure, cells, read, table
from twinset_exporter.training.report import page
from twinset_exporter.training.report.report import Report
from twinset_exporter.training.report.table import Table

PAGE = Path("build/quality.html")


def main() -> None:
    """Print the table and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="files in build/figures, without .json (default: all)")
    arguments = parser.parse_args()
    files = [FOLDER / f"{name}.json" for name in arguments.names] or sorted(FOLDER.glob("*.json"))
    try:
        figures = {path.stem: read(path) for path in files}
    except (OSError, ValueError, TypeError) as error:
        parser.error(f"{error}: measure again; the programs in benchmarks/ write these files")
    console = Console()
    for name, rows in figures.items():
        console.print(table(name, rows))
    page.write(PAGE, summary(figures))
    console.print(f"open [bold]{PAGE}[/bold] to see them with their protocols")
    missed = [figure.id for rows in figures.values() for figure in rows if not figure.reaches(figure.bound)]
    if missed:
        sys.exit(f"below their bounds: {', '.join(missed)}")


def summary(figures: Mapping[str, Sequence[Figure]]) -> Report:
    """Return the page of all figures, by the name of their file."""
    every = [figure for rows in figures.values() for figure in rows]
    bounded = [figure for figure in every if figure.bound is not None]
    hoped = [figure for figure in every if figure.aim is not None]
    facts = [
        ("figures", str(len(every))),
        ("bounds reached", f"{sum(figure.reaches(figure.bound) for figure in bounded)} of {len(bounded)}"),
        ("aims reached", f"{sum(figure.reaches(figure.aim) for figure in hoped)} of {len(hoped)}"),
    ]
    columns = (*COLUMNS, "how it was taken")
    sections = [
        Table(columns, [(*cells(figure), figure.protocol) for figure in rows], title=name)
        for name, rows in figures.items()
    ]
    return Report("Figures", "Each with the spread over its seeds, its bound and its aim.", facts, sections=sections)


if __name__ == "__main__":
    main()
