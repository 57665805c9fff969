"""The folder of one training.

run.json        what is trained on what; a run that finds another's stops
checkpoint.npz  the last epoch and the best, while training (see `loop`)
metrics.json    figures with their protocol, and the checksums of the splits
report.html     to look at
NAME.keras      the trained heads
heads.toml      for `twinset-exporter export BACKBONE --heads`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from twinset_exporter.errors import UsageError
from twinset_exporter.held_folder import TEMPORARY, HeldFolder
from twinset_exporter.training.report import page
from twinset_exporter.training.report.report import Report

RUN = "run.json"
METRICS = "metrics.json"
REPORT = "report.html"
HEADS = "heads.toml"

VERSION = 1


class RunFolder(HeldFolder):
    """The folder that a training writes to, held while it is open."""

    def begin(self, kind: str, run: Mapping[str, Any]) -> None:
        """Say what is trained; go on where a run before said the same, or said another but left nothing.

        Args:
            kind: of the training.
            run: everything that the result depends on, as JSON holds it: settings, seed, checksums of the data,
                fingerprint of the features.

        Raises:
            UsageError: the folder belongs to another run, or holds other things.
        """
        path = self.path / RUN
        wanted = json.loads(json.dumps({"version": VERSION, "kind": kind, **run}))
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if any(not entry.name.startswith(TEMPORARY) for entry in self.path.iterdir()):
                raise UsageError(f"{self.path} holds files that are no training: choose a new --output") from None
            self.write_json(RUN, wanted)
            return
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} can't be read ({error}): choose another --output") from error
        differing = _differing(before, wanted)
        if differing and self._begun():
            raise UsageError(
                f"{self.path} belongs to another run: {' and '.join(differing)} differ; choose another --output, or "
                "repeat the command of that run"
            )
        if differing:
            self.write_json(RUN, wanted)

    def _begun(self) -> bool:
        """Return whether a run left anything; one that failed on a mistake in its call only said what it was."""
        files = (path for path in self.path.rglob("*") if not path.is_dir())
        return any(path.name != RUN and not path.name.startswith(TEMPORARY) for path in files)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a file of JSON."""
        self.write_text(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with self.writing(self.path / name) as file:
            file.write(text.encode())

    def write_report(self, report: Report) -> None:
        """Write the page, and for programs its figures and the SHA-256 of each split by its name."""
        text = page.render(report)
        self.write_json(
            METRICS, {"metrics": [asdict(figure) for figure in report.figures], "splits": dict(report.splits)}
        )
        self.write_text(REPORT, text)


def _differing(before: Any, wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the names of the entries that differ, with those of the tables that they are in."""
    if not isinstance(before, dict):
        return [prefix or "the file"]
    names = []
    for name in {**before, **wanted}:
        old, new = before.get(name), wanted.get(name)
        if isinstance(new, dict) and isinstance(old, dict):
            names += _differing(old, new, f"{prefix}{name}.")
        elif old != new:
            names.append(f"{prefix}{name}")
    return names
