import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.amazon_sample import TOP, write_sample
from twinset_exporter.datasets import amazon
from twinset_exporter.datasets.errors import DataError


def record(asin: str, *numbers: float) -> bytes:
    return asin.encode() + np.array(numbers, "<f4").tobytes()


A, B, C = "B00000000A", "B00000000B", "000123456X"
RECORDS = record(A, 1, 2) + record(B, 3, 4) + record(C, 5, 6)


def features(folder: Path, content: bytes, *, compressed: bool = False) -> Path:
    path = folder / ("f.b.gz" if compressed else "f.b")
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


def metadata(folder: Path, *lines: object) -> Path:
    path = folder / "meta.json.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_features_are_copied_as_they_are(tmp_path: Path, compressed: bool) -> None:
    path = features(tmp_path, RECORDS, compressed=compressed)

    found = amazon.read_features(path, tmp_path / "f.npy", dimension=2)

    assert found.ids == (A, B, C)
    assert found.rows.dtype == np.float32
    assert found.rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert isinstance(found.rows, np.memmap)
    assert not found.rows.flags.writeable


def test_only_wanted_items_are_copied_and_each_once(tmp_path: Path) -> None:
    path = features(tmp_path, RECORDS + record(A, 7, 8))

    found = amazon.read_features(path, tmp_path / "f.npy", wanted={A, C}, dimension=2)

    assert (found.ids, found.rows.tolist(), found.repeated) == ((A, C), [[1, 2], [5, 6]], 1)


def test_many_batches_join(tmp_path: Path) -> None:
    count, dimension = 5_000, 1_000
    rows = np.random.default_rng(0).standard_normal((count, dimension), dtype=np.float32)
    path = features(tmp_path, b"".join(record(f"{number:010d}", *rows[number]) for number in range(count)))

    found = amazon.read_features(path, tmp_path / "f.npy", dimension=dimension)

    assert np.array_equal(found.rows, rows)
    assert found.ids[-1] == "0000004999"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RECORDS[:-3], "record 2, byte 51: expected records of 18 bytes"),
        (RECORDS[:20], "record 1, byte 20: expected records of 18 bytes"),
        (b"", "at least one record, found an empty file"),
        (record(A, 1, 2) + record("b00000000a", 1, 2), "record 1, byte 18: expected an ASIN"),
        (record(A, 1, 2) + b"\0" * 18, "record 1, byte 18: expected an ASIN"),
        (record(A, 1, float("nan")), "record 0, byte 14: expected a finite number, found nan"),
        (record(A, 1, 2) + record(B, float("-inf"), 1), "record 1, byte 28: expected a finite number, found -inf"),
    ],
)
def test_broken_features_are_named_by_record_and_byte(tmp_path: Path, content: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        amazon.read_features(features(tmp_path, content), tmp_path / "f.npy", dimension=2)

    assert not list(tmp_path.glob("*.npy*"))


def test_numbers_whose_sum_overflows_are_finite_still(tmp_path: Path) -> None:
    path = features(tmp_path, record(A, 3e38, 3e38))

    assert amazon.read_features(path, tmp_path / "f.npy", dimension=2).rows[0, 0] == np.float32(3e38)


def test_wanting_only_unknown_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one of the items wanted"):
        amazon.read_features(features(tmp_path, RECORDS), tmp_path / "f.npy", wanted=set(), dimension=2)


def product(asin: str, also_bought: list[str] | None = None, *path: str) -> dict[str, object]:
    related = {} if also_bought is None else {"related": {"also_bought": also_bought, "also_viewed": [C]}}
    return {"asin": asin, "title": "It's 7\" \xe9", **related, "categories": [list(path), ["Other", "Way"]]}


def told(found: amazon.Metadata) -> list[tuple[str, str]]:
    ids = found.pairs.item_ids
    return [(ids[left], ids[right]) for left, right in zip(found.pairs.left, found.pairs.right, strict=True)]


def test_metadata_gives_directed_pairs_and_second_level_categories(tmp_path: Path) -> None:
    path = metadata(tmp_path, product(A, [B, C, B], TOP, "Women", "Shoes"), product(C, [A], TOP), "", product(B))

    found = amazon.read_metadata(path)

    assert told(found) == [(A, B), (A, C), (C, A)]
    assert dict(zip(found.pairs.item_ids, found.categories, strict=True)) == {A: "Women", B: None, C: None}


def test_metadata_of_items_asked_for_leaves_others_out(tmp_path: Path) -> None:
    path = metadata(tmp_path, product(A, [B, C], TOP, "Men"), product(B, [A], TOP, "Women"), product(C, [A]))

    found = amazon.read_metadata(path, item_ids=[C, A])

    assert told(found) == [(A, C), (C, A)]
    assert found.categories == (None, "Men")
    assert found.outside == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"asin": "B00000000B", "related": null}', "a dictionary as Python writes it"),
        ("{'asin': 'B00000000B'", "a dictionary as Python writes it"),
        ("__import__('os')", "a dictionary as Python writes it"),
        (["B00000000B"], "a dictionary, found list"),
        ({"title": "x"}, "'asin' with 10 digits and capitals, found 'None'"),
        (product("b"), "'asin' with 10 digits and capitals"),
        (product(B, ["x"]), "'related' with a list of ASINs 'also_bought'"),
        ({"asin": B, "related": {"also_bought": B}}, "'related' with a list of ASINs"),
        ({"asin": B, "related": [A]}, "'related' with a list of ASINs"),
        ({"asin": B, "categories": ["Women"]}, "'categories' with lists of names"),
        ({"asin": B, "categories": [[TOP, 3]]}, "'categories' with lists of names"),
        (product(A), "each product once, but line 1 has this one too"),
        ("[" * 300 + "]" * 300, "a dictionary as Python writes it"),
        pytest.param("9" * (1 << 21), "a line of at most", id="long"),
    ],
)
def test_a_broken_product_is_named_by_its_line(tmp_path: Path, line: object, expected: str) -> None:
    with pytest.raises(DataError) as raised:
        amazon.read_metadata(metadata(tmp_path, product(A, [B]), line))

    assert raised.value.line == 2
    assert expected in str(raised.value)


def test_the_generated_sample_is_read_as_it_was_planted(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, items=300, pairs=3_000, categories=5, dimension=16)

    found = amazon.read_features(sample.features, tmp_path / "f.npy", dimension=16)
    products = amazon.read_metadata(sample.metadata, item_ids=found.ids)

    assert found.ids == sample.asins
    assert (found.rows >= 0).all()
    assert len(products.pairs) == sample.pairs > 2_000
    assert products.outside > 0
    steps = (sample.categories[products.pairs.right] - sample.categories[products.pairs.left]) % 5
    assert set(steps.tolist()) == {1, 2}
    known = [place for place, category in enumerate(products.categories) if category is not None]
    assert 0 < 300 - len(known) < 20
    assert [products.categories[place] for place in known] == [f"Kind {sample.categories[place]}" for place in known]
