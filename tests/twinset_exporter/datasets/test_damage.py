"""Whatever is done to a file, its reader gives an answer or a DataError."""

import contextlib
import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.amazon_sample import write_sample
from twinset_exporter.datasets import amazon, groups, idx, interactions, labels, movielens, pairs
from twinset_exporter.datasets.errors import DataError
from twinset_exporter.datasets.interactions import Columns

RATED = Columns("u", "i", "r", "t")
SOME_TEXT = [
    b"",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"'",
    b"\n",
    b"\r",
    b",",
    b"\t",
    b"|",
    b"[",
    b"nan",
    b"1e999",
    b"-",
]
SOME_NUMBERS = [struct.pack(">I", number) for number in (0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF)]


@dataclass(frozen=True)
class Kind:
    name: str
    content: bytes
    read: Callable[[Path], object]


def read_labels(path: Path) -> object:
    (path.parent / "pictures").mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (path.parent / "pictures" / name).touch()
    return labels.read(path.parent / "pictures", path)


def parquet() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"u": ["a", "b"], "i": [1, 2], "r": [1.0, None], "t": [7, 8]}), content)
    return content.getvalue()


def amazon_files(folder: Path) -> tuple[bytes, bytes]:
    sample = write_sample(folder, items=6, pairs=20, categories=3, dimension=2)
    return sample.features.read_bytes(), gzip.decompress(sample.metadata.read_bytes())


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    features, metadata = amazon_files(tmp_path_factory.mktemp("amazon"))
    array = struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 2, 2) + bytes(range(8))
    ratings = b"1\t2\t3\t881250949\n2\t1\t5\t881250950\n"
    films = "1|L\xe9on (1994)|01-Jan-1994||http://x|0|1\n2|B|||http://y|1|0\n".encode("latin-1")
    table = b'u,i,r,t\na,x,1,2\nb,"y, z",2.5,3\n'
    found = [
        Kind("features.b", features, lambda path: amazon.read_features(path, path.with_name("f.npy"), dimension=2)),
        Kind("meta.json", metadata, amazon.read_metadata),
        Kind("meta.json.gz", gzip.compress(metadata), amazon.read_metadata),
        Kind("array.idx", array, idx.read),
        Kind("array.idx.gz", gzip.compress(array), idx.read),
        Kind("u.data", ratings, movielens.read_ratings),
        Kind("u.item", films, movielens.read_movies),
        Kind("acts.csv", table, lambda path: interactions.read(path, RATED, core=None)),
        Kind("acts.parquet", parquet(), lambda path: interactions.read(path, RATED, core=None)),
        Kind("labels.csv", b'id,type\na,"Lamp, big"\nb,Sofa\n', read_labels),
        Kind("pairs.csv", b"a,b\nb,a\nc,a\n", pairs.read_pairs),
        Kind("rooms.csv", b"room_id,item_id\nR1,a\nR1,b\nR2,a\n", groups.read_groups),
    ]
    return {kind.name: kind for kind in found}


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    edits = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "cut", "put", "drop", "again"]),
                st.floats(0, 1, exclude_max=True),
                st.integers(1, 40),
                st.sampled_from(SOME_TEXT + SOME_NUMBERS) | st.binary(max_size=8),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def apply(content: bytes) -> bytes:
        for edit, share, length, other in edits:
            place = int(share * len(content))
            before, after = content[:place], content[place:]
            if edit == "flip" and after:
                content = before + bytes([after[0] ^ (1 << length % 8)]) + after[1:]
            elif edit == "cut":
                content = before
            elif edit == "put":
                content = before + other + after
            elif edit == "drop":
                content = before + after[length:]
            elif edit == "again":
                content = before + after[:length] * 2 + after[length:]
        return content

    return apply


NAMES = [
    *("features.b", "meta.json", "meta.json.gz", "array.idx", "array.idx.gz", "u.data", "u.item"),
    *("acts.csv", "acts.parquet", "labels.csv", "pairs.csv", "rooms.csv"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_is_read(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(kinds[name].content)

    if name == "acts.parquet":  # one of its values is missing
        with pytest.raises(DataError, match="record 1: expected a finite number"):
            kinds[name].read(tmp_path / name)
    else:
        kinds[name].read(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(damaged=damage())
def test_a_damaged_file_is_read_or_refused(
    kinds: dict[str, Kind], tmp_path_factory: pytest.TempPathFactory, name: str, damaged: Callable[[bytes], bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(damaged(kinds[name].content))

    with contextlib.suppress(DataError):
        kinds[name].read(path)
