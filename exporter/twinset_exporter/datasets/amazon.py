"""McAuley's Amazon files: features of pictures, and what was also bought.

McAuley, Targett, Shi and van den Hengel, "Image-based recommendations on styles and substitutes", SIGIR 2015. Formats:
https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html: `image_features_*.b` holds records of a 10-byte ASIN and
4,096 little-endian float32, `meta_*.json.gz` one Python dictionary a line (no JSON, whatever it is called).
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets import literals
from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.ids import Numbering
from twinset_exporter.datasets.lines import read_lines
from twinset_exporter.datasets.opening import opened, read_exactly
from twinset_exporter.datasets.pairs import Pairs

DIMENSION = 4_096

_ASIN_BYTES = 10
_ASIN = re.compile(r"[0-9A-Z]{10}", re.ASCII)
_BATCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Features:
    """Features of items, on disk.

    Attributes:
        ids: ASINs, each once.
        rows: `[N, D]` float32, mapped from the file for reading.
        repeated: how many records there were of items that had come before; the first one counts.
    """

    ids: tuple[str, ...]
    rows: NDArray[np.float32]
    repeated: int


@dataclass(frozen=True, slots=True)
class Product:
    """One line of the metadata.

    Attributes:
        line: its number in the file, from 1.
        asin: of the product.
        also_bought: ASINs of what its buyers bought too.
        category: the second level of its first category, such as `Women` of `Clothing, Shoes & Jewelry`; None where it
            has none.
    """

    line: int
    asin: str
    also_bought: tuple[str, ...]
    category: str | None


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of items.

    Attributes:
        pairs: what was also bought, each pair once: `left` is the product, `right` what its buyers bought too.
        categories: by the item's number in `pairs.item_ids`; None where it is unknown.
        outside: how many pairs were left out, since an item of them is not among those asked for.
    """

    pairs: Pairs
    categories: tuple[str | None, ...]
    outside: int


def read_feature_batches(path: Path, *, dimension: int = DIMENSION) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Return the records in batches of about 8 MB: ASINs, and `[B, dimension]` float32.

    The rows are good until the next batch, which is read in their place.

    Raises:
        DataError: the file can't be read, ends within a record, or one holds no ASIN or no finite numbers.
    """
    record = np.dtype([("asin", "u1", (_ASIN_BYTES,)), ("row", "<f4", (dimension,))])
    batch = np.empty(max(1, _BATCH_BYTES // record.itemsize), record)
    start = 0
    with opened(path) as file:
        while filled := read_exactly(file, batch.view(np.uint8).data):
            count, rest = divmod(filled, record.itemsize)
            records = batch[:count]
            asins = _asins(path, records["asin"], start, record.itemsize)
            _check_finite(path, records["row"], start, record.itemsize)
            if rest:
                raise DataError(
                    path,
                    f"records of {record.itemsize:,} bytes: an ASIN of 10 characters and {dimension:,} float32",
                    found=f"the end after {rest:,} bytes of one",
                    record=start + count,
                    offset=(start + count) * record.itemsize + rest,
                )
            yield asins, records["row"]
            start += count
    if not start:
        raise DataError(path, "at least one record", found="an empty file")


def read_features(
    path: Path, output: Path, *, wanted: Container[str] | None = None, dimension: int = DIMENSION
) -> Features:
    """Copy the features into the `.npy` file `output`, and return them mapped from there.

    Args:
        path: of the features, plain or `.gz`.
        output: is replaced when all is read.
        wanted: the ASINs to copy; None copies all.
        dimension: of the features.

    Raises:
        DataError: as `read_feature_batches` does; `output` is then as it was.
    """
    ids: dict[str, None] = {}
    repeated = 0
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("wb") as file:
            _write_header(file, 0, dimension)
            for asins, rows in read_feature_batches(path, dimension=dimension):
                chosen = []
                for place, asin in enumerate(asins):
                    if wanted is not None and asin not in wanted:
                        continue
                    if asin in ids:
                        repeated += 1
                        continue
                    ids[asin] = None
                    chosen.append(place)
                file.write(np.ascontiguousarray(rows[chosen], "<f4").data)
            file.seek(0)
            # As long as the first one: numpy leaves room for the first axis to grow.
            _write_header(file, len(ids), dimension)
        if not ids:
            raise DataError(path, "at least one of the items wanted", found="none of them")
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
    return Features(tuple(ids), np.load(output, mmap_mode="r"), repeated)


def read_products(path: Path) -> Iterator[Product]:
    """Return the products of a metadata file, plain or `.gz`.

    Raises:
        DataError: the file can't be read, or a line is no product.
    """
    for number, text in read_lines(path):
        if not text.strip():
            continue
        try:
            fields = literals.parse(text.strip())
        except ValueError as error:
            raise DataError(
                path, f"a dictionary as Python writes it ({error})", found=shown(text), line=number
            ) from error
        yield _product(path, number, fields)


def read_metadata(path: Path, *, item_ids: Sequence[str] | None = None) -> Metadata:
    """Return which products were also bought with which, and their categories.

    Args:
        path: of the metadata, plain or `.gz`.
        item_ids: the items asked for, in the order of their numbers, such as `Features.ids`; None takes all and numbers
            them as they come.

    Raises:
        DataError: the file can't be read, or a line is no product or one that came before.
    """
    numbering = Numbering(item_ids or (), closed=item_ids is not None)
    left, right = array("i"), array("i")
    lines: dict[str, int] = {}
    categories: dict[int, str | None] = {}
    outside = 0
    for product in read_products(path):
        try:
            source = numbering[product.asin]
        except KeyError:
            outside += len(product.also_bought)
            continue
        if source in categories:
            expected = f"each product once, but line {lines[product.asin]} has this one too"
            raise DataError(path, expected, found=product.asin, line=product.line)
        lines[product.asin] = product.line
        # Interned: a category is one text in memory, however many products it has.
        categories[source] = None if product.category is None else sys.intern(product.category)
        for other in product.also_bought:
            try:
                target = numbering[other]
            except KeyError:
                outside += 1
            else:
                left.append(source)
                right.append(target)
    ids = numbering.ids()
    pairs = Pairs(np.array(left, np.int32), np.array(right, np.int32), ids).distinct()
    return Metadata(pairs, tuple(categories.get(number) for number in range(len(ids))), outside)


def _asins(path: Path, letters: NDArray[np.uint8], start: int, record_bytes: int) -> list[str]:
    known = ((letters >= ord("0")) & (letters <= ord("9"))) | ((letters >= ord("A")) & (letters <= ord("Z")))
    wrong = np.flatnonzero(~known.all(axis=1))
    if len(wrong):
        record = start + int(wrong[0])
        found = shown(letters[wrong[0]].tobytes().decode("latin-1"))
        expected = f"an ASIN, {_ASIN_BYTES} digits and capitals"
        raise DataError(path, expected, found=found, record=record, offset=record * record_bytes)
    text = letters.tobytes().decode("ascii")
    return [text[place : place + _ASIN_BYTES] for place in range(0, len(text), _ASIN_BYTES)]


def _check_finite(path: Path, rows: NDArray[np.float32], start: int, record_bytes: int) -> None:
    # A sum is finite only where all of its numbers are, or where it overflows: then the exact answer is worth its time.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(rows.sum(axis=1)))
    for place in suspects.tolist():
        wrong = np.flatnonzero(~np.isfinite(rows[place]))
        if len(wrong):
            record, column = start + place, int(wrong[0])
            offset = record * record_bytes + _ASIN_BYTES + 4 * column
            found = str(rows[place, column])
            raise DataError(path, "a finite number", found=found, record=record, offset=offset)


def _write_header(file: IO[bytes], count: int, dimension: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, dimension)}
    np.lib.format.write_array_header_1_0(file, header)


def _product(path: Path, line: int, fields: object) -> Product:
    if not isinstance(fields, dict):
        raise DataError(path, "a dictionary", found=type(fields).__name__, line=line)
    asin = fields.get("asin")
    if not (isinstance(asin, str) and _is_asin(asin)):
        raise DataError(path, "'asin' with 10 digits and capitals", found=shown(repr(asin)), line=line)
    related = fields.get("related", {})
    also_bought = related.get("also_bought", []) if isinstance(related, dict) else None
    if not isinstance(also_bought, list) or not all(map(_is_asin, also_bought)):
        raise DataError(path, "'related' with a list of ASINs 'also_bought'", found=shown(repr(related)), line=line)
    categories = fields.get("categories", [])
    if not isinstance(categories, list) or not all(map(_is_path, categories)):
        raise DataError(path, "'categories' with lists of names", found=shown(repr(categories)), line=line)
    category = categories[0][1] if categories and len(categories[0]) > 1 else None
    return Product(line, asin, tuple(also_bought), category)


def _is_asin(value: object) -> bool:
    return isinstance(value, str) and _ASIN.fullmatch(value) is not None


def _is_path(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
