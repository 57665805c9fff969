from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.server import DIMENSION
from fakes.vectors import unit, write_manifest, write_vectors
from twinset.vectors import Manifest, OutputVectors, VectorsError, open_vectors


def open_foreign(folder: Path) -> list[tuple[str, str]]:
    """Return id and reason of each row."""
    return [(row.id, row.reason) for row in open_vectors(folder, space="visual", id_rule=None).rows()]


def test_what_a_manifest_says_comes_back(tmp_path: Path) -> None:
    manifest = Manifest(
        "m-12345678", "a" * 64, {"embedding": OutputVectors(5, "visual"), "features": OutputVectors(9)},
        "stem", "parquet", "b" * 64, 7, 256, True, 2,
    )  # fmt: skip
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    assert Manifest.read(tmp_path) == manifest
    assert Manifest.read(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 2}', '{"version": 1, "outputs": 3}'])
def test_a_malformed_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VectorsError, match=r"manifest\.json is (malformed|of version 2)"):
        open_vectors(tmp_path, space="visual", id_rule=None)


def test_an_unfinished_embedding_is_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path, "npy", {"a": unit(1)})
    write_manifest(tmp_path, "npy", 1, done=False)
    with pytest.raises(VectorsError, match="is not finished: run the same twinset-exporter embed again"):
        open_vectors(tmp_path, space="visual", id_rule=None)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_any_floating_point_array_is_read(tmp_path: Path, dtype: str) -> None:
    write_vectors(tmp_path, "npy", {})
    np.save(tmp_path / "embedding.npy", np.array([[0.5, -2]], dtype=dtype))
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfa b\r\n")
    (row,) = open_vectors(tmp_path, space="own", id_rule=None).rows()
    assert (row.id, row.values.dtype, row.values.tolist()) == ("a b", np.float32, [0.5, -2])


def test_rows_of_the_text_pair_may_stand_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "img_embeddings.txt").write_text("1 2\n3,4\n5 six\n1e300 0\n7 8\n")
    (tmp_path / "indexes.txt").write_text("b.png\x011\na.png\x010\nc.png\x012\nd.png\x013\n")
    rows = list(open_vectors(tmp_path, space="own", id_rule=None).rows())
    assert [(row.id, row.values.tolist(), row.reason) for row in rows] == [
        ("a", [1, 2], ""),
        ("b", [3, 4], ""),
        ("c", [], "is not a row of numbers"),
        ("d", [], "component 0 is not a finite number"),
        ("", [], "indexes.txt names no picture for row 4"),
    ]


def test_a_text_pair_cut_short_raises_after_its_rows(tmp_path: Path) -> None:
    (tmp_path / "img_embeddings.txt").write_text("1 2\n")
    (tmp_path / "indexes.txt").write_text("a.png\x010\nb.png\x011\nc.png\x012\n")
    rows = open_vectors(tmp_path, space="own", id_rule=None).rows()
    assert next(rows).id == "a"
    with pytest.raises(VectorsError, match=r"ends before 2 of the rows that indexes\.txt names, the first being 1"):
        next(rows)


@pytest.mark.parametrize("line", ["a.png 0", "\x010", "a.png\x01", "a.png\x01-1", "b.png\x010"])
def test_a_malformed_index_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "img_embeddings.txt").write_text("1 2\n1 2\n")
    (tmp_path / "indexes.txt").write_text(f"c.png\x010\n{line}\n")
    with pytest.raises(VectorsError, match=r"indexes\.txt, line 2: "):
        open_vectors(tmp_path, space="own", id_rule=None)


def test_files_that_dont_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorsError, match="there is no folder"):
        open_foreign(tmp_path / "none")
    with pytest.raises(VectorsError, match="holds no vectors: expected"):
        open_foreign(tmp_path)
    write_vectors(tmp_path, "npy", {"a": unit(1), "b": unit(2)})
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(VectorsError, match=r"ids\.txt has 1 lines, embedding\.npy 2 rows"):
        open_foreign(tmp_path)
    (tmp_path / "more.npy").touch()
    with pytest.raises(VectorsError, match=r"must hold one \.npy file, and holds 2"):
        open_foreign(tmp_path)
    (tmp_path / "embedding.npy").unlink()
    with pytest.raises(VectorsError, match=r"more\.npy is no array"):
        open_foreign(tmp_path)


def test_a_parquet_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vectors.parquet").write_text("no table")
    with pytest.raises(VectorsError, match="is no Parquet file that can be read"):
        open_foreign(tmp_path)
    write_vectors(tmp_path, "parquet", {"a": unit(1)})
    write_manifest(tmp_path, "parquet", 1)
    assert open_foreign(tmp_path) == [("a", "")]
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"embedding"', '"features"'))
    with pytest.raises(VectorsError, match=r"one of lists of numbers, 'features': it has the columns id, embedding"):
        open_foreign(tmp_path)


def test_the_output_that_fills_the_space_is_read(tmp_path: Path) -> None:
    write_vectors(tmp_path, "npy", {"a": unit(1)})
    np.save(tmp_path / "features.npy", np.ones((1, 3), np.float32))
    outputs = {"features": OutputVectors(3), "embedding": OutputVectors(DIMENSION, "visual")}
    manifest = Manifest("m", "a" * 64, outputs, "path", "npy", "b" * 64, 1, 256, True)
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    (row,) = open_vectors(tmp_path, space="visual", id_rule=None).rows()
    assert row.values.tolist() == pytest.approx(unit(1))
    with pytest.raises(VectorsError, match="has the outputs features, embedding, and none fills the space 'own'"):
        open_vectors(tmp_path, space="own", id_rule=None)
