"""The folder of real data that programs measure on: `--data`, or the environment's TWINSET_DATA."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


class DataOption:
    """`--data` of one program."""

    def __init__(self, parser: argparse.ArgumentParser, held: str, *, otherwise: str = "") -> None:
        """Add the option to `parser`.

        Args:
            parser: of the program's arguments.
            held: what the program reads in the folder.
            otherwise: what it takes where no folder is named; empty where it can't do without.
        """
        self._parser = parser
        without = f"; without either, {otherwise}" if otherwise else ""
        parser.add_argument(
            "--data",
            type=Path,
            default=os.environ.get("TWINSET_DATA"),
            metavar="FOLDER",
            help=f"folder that holds {held} (default: TWINSET_DATA{without})",
        )

    def required(self, arguments: argparse.Namespace) -> Path:
        """Return the folder; end the program where none is named."""
        folder = self.given(arguments)
        if folder is None:
            self._parser.error("name the data folder with --data or TWINSET_DATA")
        return folder

    def given(self, arguments: argparse.Namespace) -> Path | None:
        """Return the folder, None where none is named."""
        folder: Path | None = arguments.data
        return folder
