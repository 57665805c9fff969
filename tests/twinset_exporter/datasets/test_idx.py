import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinset_exporter.datasets import idx
from twinset_exporter.datasets.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def encoded(array: np.ndarray[Any, Any]) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.str[1:]], array.ndim, *array.shape) + big.tobytes()
    )


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
def test_what_was_written_is_read(tmp_path: Path, code: str, name: str) -> None:
    array = np.arange(24).reshape(4, 3, 2).astype(code)
    (tmp_path / name).write_bytes(gzip.compress(encoded(array)) if name.endswith(".gz") else encoded(array))

    found = idx.read(tmp_path / name)

    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


def test_a_file_that_ends_early_is_named_by_record_and_byte(tmp_path: Path) -> None:
    content = encoded(np.zeros((5, 2, 2), np.uint8))
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:-6]))

    with pytest.raises(DataError, match="record 3, byte 30: expected 5 records, as its header says, found the end"):
        idx.read(tmp_path / "a.gz")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "an IDX file"),
        (b"\0\0\x07\x01\0\0\0\x01\0", "an IDX file"),
        (b"\0\0\x08\x02\0\0\0\x01", "byte 8: expected 2 dimensions, found the end"),
        (b"\0\0\x08\x01\0\0\0\0", "none of them 0"),
        (b"\0\0\x08\x28" + b"\0\0\0\x01" * 40 + b"\0", "at most 32 dimensions"),
        (b"\0\0\x0e\x03" + b"\xff" * 12, "bytes, as \\(4294967295, 4294967295, 4294967295\\) needs"),
        (b"\0\0\x08\x01\0\0\0\x02\0", "2 bytes, as \\(2,\\) needs, found at most 1"),
        (b"\0\0\x08\x01\0\0\0\x01\0\0", "byte 9: expected its end"),
    ],
)
def test_what_is_no_idx_file_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a").write_bytes(content)

    with pytest.raises(DataError, match=expected):
        idx.read(tmp_path / "a")


def test_a_small_compressed_file_cannot_ask_for_much_memory(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\0\0\x08\x02" + b"\x7f\xff\xff\xff" * 2))

    with pytest.raises(DataError, match="found at most"):
        idx.read(tmp_path / "a.gz")
