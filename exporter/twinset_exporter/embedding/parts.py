"""What a run has done so far, in a folder that survives its death.

    manifest.json       what is being made; the run that finds it goes on, or refuses
    .parts/000000.npz   rows of the first pictures, whole: written aside, synced, renamed

Parts are numbered by the places of their pictures, so whether a part is done is whether its file is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.vectors.manifest import MANIFEST, Manifest, VectorsError
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.held_folder import TEMPORARY, HeldFolder

_PARTS = ".parts"
_ROWS = "rows-"
_PLACES = "places"
_FAILURES = "failures"

_FIELDS = {
    "fingerprint": "the model's fingerprint",
    "outputs": "the outputs",
    "id_rule": "the id rule",
    "format": "the format",
    "part": "the chunk",
    "pictures": "the pictures below the folder",
}


@dataclass(slots=True)
class Part:
    """Rows of consecutive pictures.

    Attributes:
        places: of the pictures that have rows, `[N]` int64.
        rows: per output `[N, D]` float32.
        failures: reasons by place of those that have none.
    """

    places: NDArray[np.int64]
    rows: Mapping[str, NDArray[np.float32]]
    failures: Mapping[int, str] = field(default_factory=dict)


class OutputFolder(HeldFolder):
    """The folder that a run writes to."""

    def begin(self, wanted: Manifest) -> Manifest:
        """Return the manifest that holds: `wanted`, or that of a run before, which asked for the same.

        Raises:
            UsageError: the run before asked for something else, or the folder holds other things.
        """
        try:
            before = Manifest.read(self.path)
        except VectorsError as error:
            raise UsageError(f"{error}; or choose another --output") from error
        if before is not None:
            self._refuse_another(before, wanted)
            return before
        leftover = f"{TEMPORARY}{MANIFEST}"
        if any(entry.name != leftover for entry in self.path.iterdir()):
            raise UsageError(f"{self.path} holds files that are no embedding: choose an empty or a new --output")
        self._write_manifest(wanted)
        return wanted

    def has_part(self, number: int) -> bool:
        """Return whether a part is done."""
        return self._part(number).exists()

    def write_part(self, number: int, part: Part) -> None:
        """Store a part, durably; it is there whole or not at all."""
        failures = json.dumps({str(place): reason for place, reason in part.failures.items()}).encode()
        arrays: dict[str, NDArray[Any]] = {f"{_ROWS}{name}": rows for name, rows in part.rows.items()}
        arrays |= {_PLACES: part.places, _FAILURES: np.frombuffer(failures, np.uint8)}
        (self.path / _PARTS).mkdir(exist_ok=True)
        with self.writing(self._part(number)) as file:
            np.savez(file, allow_pickle=False, **arrays)

    def read_part(self, number: int) -> Part:
        """Return a part.

        Raises:
            ExportError: its file is damaged; it is removed, so that the next run makes it anew.
        """
        with self._arrays(number) as arrays:
            rows = {name.removeprefix(_ROWS): arrays[name] for name in arrays if name.startswith(_ROWS)}
            return Part(arrays[_PLACES], rows, _failures(arrays))

    def read_failures(self, number: int) -> Mapping[int, str]:
        """Return the failures of a part, without reading its rows; raises like `read_part`."""
        with self._arrays(number) as arrays:
            return _failures(arrays)

    @contextlib.contextmanager
    def _arrays(self, number: int) -> Iterator[Any]:
        path = self._part(number)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                yield arrays
        except Exception as error:  # a damaged archive raises whatever its reader stumbles over
            path.unlink(missing_ok=True)
            raise ExportError(f"{path} was damaged ({error}): run the same command again to make it anew") from error

    def finish(self, manifest: Manifest, failed: int) -> Manifest:
        """Say that all files are there, and drop the parts; return the manifest of the finished folder."""
        finished = dataclasses.replace(manifest, complete=True, failed=failed)
        self._write_manifest(finished)
        self.drop_parts()
        return finished

    def drop_parts(self) -> None:
        """Remove the parts; everything in them is in the files."""
        shutil.rmtree(self.path / _PARTS, ignore_errors=True)

    def _write_manifest(self, manifest: Manifest) -> None:
        with self.writing(self.path / MANIFEST) as file:
            file.write(manifest.to_json().encode())

    def _part(self, number: int) -> Path:
        return self.path / _PARTS / f"{number:06}.npz"

    def _refuse_another(self, before: Manifest, wanted: Manifest) -> None:
        differing = [text for name, text in _FIELDS.items() if getattr(before, name) != getattr(wanted, name)]
        if not differing:
            return
        detail = ""
        if before.fingerprint != wanted.fingerprint:
            detail = f" ({before.fingerprint} there, {wanted.fingerprint} asked for)"
        raise UsageError(
            f"{self.path} belongs to another run: {' and '.join(differing)} differ{detail}; choose another --output, "
            "or repeat the command of that run"
        )


def _failures(arrays: Any) -> Mapping[int, str]:
    return {int(place): reason for place, reason in json.loads(arrays[_FAILURES].tobytes()).items()}
