"""The finished files, written from the parts one part at a time."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from twinset.vectors.manifest import (
    ID_COLUMN,
    IDS,
    PARQUET,
    TEXT_INDEX,
    TEXT_ROWS,
    TEXT_SEPARATOR,
    Format,
    Manifest,
)
from twinset_exporter.embedding.parts import OutputFolder, Part
from twinset_exporter.embedding.pictures import Listing

FAILURES = "failures.csv"


class _Writer(Protocol):
    def write(self, part: Part) -> None:
        """Append the rows of a part."""


def write_files(folder: OutputFolder, manifest: Manifest, listing: Listing, parts: Sequence[int]) -> Mapping[int, str]:
    """Write the rows of all parts in the manifest's format, and the failures; return these by place."""
    failures: dict[int, str] = {}
    for number in parts:
        failures |= folder.read_failures(number)
    with _WRITERS[manifest.format](folder, manifest, listing, len(listing) - len(failures)) as writer:
        for number in parts:
            writer.write(folder.read_part(number))
    _write_failures(folder, listing, failures)
    return failures


def read_failures(folder: Path) -> Iterator[tuple[str, str]]:
    """Return the pictures without a vector in a finished folder, each with its reason."""
    with (folder / FAILURES).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from ((name, reason) for name, reason in rows)


def _write_failures(folder: OutputFolder, listing: Listing, failures: Mapping[int, str]) -> None:
    path = folder.path / FAILURES
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "reason"))
    rows.writerows((listing.names[place], reason) for place, reason in sorted(failures.items()))
    with folder.writing(path) as file:
        # A name that is no text is written as the bytes that it is.
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


class _Npy:
    def __init__(self, listing: Listing, arrays: Mapping[str, IO[bytes]], ids: IO[bytes]) -> None:
        self._listing, self._arrays, self._ids = listing, arrays, ids

    def write(self, part: Part) -> None:
        self._ids.writelines(f"{self._listing.ids[place]}\n".encode() for place in part.places)
        for name, file in self._arrays.items():
            file.write(np.ascontiguousarray(part.rows[name], "<f4").tobytes())


@contextlib.contextmanager
def _npy(folder: OutputFolder, manifest: Manifest, listing: Listing, count: int) -> Iterator[_Writer]:
    with contextlib.ExitStack() as stack:
        arrays: dict[str, IO[bytes]] = {}
        for name, output in manifest.outputs.items():
            file = arrays[name] = stack.enter_context(folder.writing(folder.path / f"{name}.npy"))
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, output.dimension)}
            np.lib.format.write_array_header_1_0(file, header)
        yield _Npy(listing, arrays, stack.enter_context(folder.writing(folder.path / IDS)))


class _Parquet:
    def __init__(self, listing: Listing, schema: Any, writer: Any) -> None:
        self._listing, self._schema, self._writer = listing, schema, writer

    def write(self, part: Part) -> None:
        import pyarrow as pa

        columns = [pa.array([self._listing.ids[place] for place in part.places], pa.string())]
        for rows in (part.rows[name] for name in self._schema.names[1:]):
            offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
            columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.ravel(), pa.float32())))
        # `cast` gives the lists the name that the schema has for their elements.
        self._writer.write_table(pa.table(columns, names=self._schema.names).cast(self._schema))


@contextlib.contextmanager
def _parquet(folder: OutputFolder, manifest: Manifest, listing: Listing, count: int) -> Iterator[_Writer]:
    # Here, so that the other formats need no pyarrow.
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = [pa.field(name, pa.list_(pa.float32())) for name in manifest.outputs]
    schema = pa.schema([pa.field(ID_COLUMN, pa.string()), *vectors])
    with folder.writing(folder.path / PARQUET) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield _Parquet(listing, schema, writer)


class _Text:
    def __init__(self, listing: Listing, output: str, rows: IO[bytes], index: IO[bytes]) -> None:
        self._listing, self._output, self._rows, self._index = listing, output, rows, index
        self._number = 0

    def write(self, part: Part) -> None:
        self._rows.writelines(_line(row) for row in part.rows[self._output].tolist())
        for place in part.places:
            self._index.write(f"{self._listing.names[place]}{TEXT_SEPARATOR}{self._number}\n".encode())
            self._number += 1


def _line(numbers: Iterable[float]) -> bytes:
    # Nine digits bring every float32 back as it was.
    return (" ".join(f"{number:.9g}" for number in numbers) + "\n").encode()


@contextlib.contextmanager
def _text(folder: OutputFolder, manifest: Manifest, listing: Listing, count: int) -> Iterator[_Writer]:
    (output,) = manifest.outputs
    with folder.writing(folder.path / TEXT_ROWS) as rows, folder.writing(folder.path / TEXT_INDEX) as index:
        yield _Text(listing, output, rows, index)


_WRITERS = {"npy": _npy, "parquet": _parquet, "text": _text}


def paths(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the finished files that hold vectors."""
    names: Mapping[Format, list[str]] = {
        "npy": [*(f"{name}.npy" for name in manifest.outputs), IDS],
        "parquet": [PARQUET],
        "text": [TEXT_ROWS, TEXT_INDEX],
    }
    return [folder / name for name in names[manifest.format]]
