from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fakes.bulk import COUNT, Embed, command, write_pictures
from fakes.models import DIMENSION, SIDE, run_locally, tiny_contract
from fakes.triton import FakeTriton
from twinset.folder import read_folder
from twinset.images import PicturePipeline, decode
from twinset.vectors import open_vectors
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.triton_model import TritonModel

PIPELINE = PicturePipeline(SIDE, SIDE)


def expected(photos: Path, output: str = "embedding") -> dict[str, np.ndarray]:
    """Return the vectors by id, computed in this process."""
    paths = read_folder(photos, "path").pictures
    pixels = np.stack([decode(path.read_bytes(), PIPELINE) for path in paths.values()])
    return dict(zip(paths, run_locally(pixels)[output], strict=True))


@pytest.mark.parametrize("kind", ["npy", "parquet", "text"])
def test_every_format_holds_what_the_model_answers(embed: Embed, photos: Path, tmp_path: Path, kind: str) -> None:
    done = embed(photos, "--format", kind)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{COUNT} pictures: {COUNT} embedded, 0 failed")
    vectors = open_vectors(tmp_path / "vectors", space="visual", id_rule=None)
    read = {row.id: row.values for row in vectors.rows()}
    wanted = expected(photos)
    assert list(read) == list(wanted)
    for item_id, values in wanted.items():
        np.testing.assert_allclose(read[item_id], values, atol=1e-6)
    manifest = json.loads((tmp_path / "vectors" / "manifest.json").read_text())
    assert (manifest["fingerprint"], manifest["complete"]) == (tiny_contract().fingerprint, True)
    assert not (tmp_path / "vectors" / ".parts").exists()


def test_the_files_are_what_other_tools_read(embed: Embed, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    assert embed(photos, "--outputs", "features,embedding").returncode == 0
    features, ids = np.load(folder / "features.npy"), (folder / "ids.txt").read_text().splitlines()
    assert (features.shape, features.dtype, np.load(folder / "embedding.npy").shape) == (
        (COUNT, DIMENSION), np.float32, (COUNT, DIMENSION),
    )  # fmt: skip
    np.testing.assert_allclose(features, np.stack(list(expected(photos, "features").values())), atol=1e-5)
    assert ids[:2] == ["even/000", "even/002"]


def test_parquet_has_ids_and_lists_of_float32(embed: Embed, photos: Path, tmp_path: Path) -> None:
    assert embed(photos, "--format", "parquet", "--outputs", "features,embedding").returncode == 0
    table = pq.read_table(tmp_path / "vectors" / "vectors.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("id", "string"), ("features", "list<element: float>"), ("embedding", "list<element: float>"),
    ]  # fmt: skip
    assert table.column("id").to_pylist()[0] == "even/000"


def test_the_text_pair_names_files_and_rows(embed: Embed, photos: Path, tmp_path: Path) -> None:
    assert embed(photos, "--format", "text").returncode == 0
    rows = (tmp_path / "vectors" / "img_embeddings.txt").read_text().splitlines()
    index = (tmp_path / "vectors" / "indexes.txt").read_text().splitlines()
    assert (len(rows), len(index)) == (COUNT, COUNT)
    assert index[:2] == ["even/000.png\x010", "even/002.png\x011"]
    assert {len(row.split(" ")) for row in rows} == {DIMENSION}
    assert [np.float32(number) for number in rows[0].split()] == pytest.approx(expected(photos)["even/000"], abs=1e-6)


def test_bad_files_are_listed_with_their_reason_and_the_rest_embedded(
    embed: Embed, photos: Path, tmp_path: Path
) -> None:
    (photos / "cut.png").write_bytes((photos / "even" / "000.png").read_bytes()[:-20])
    (photos / "notes.jpg").write_text("no picture at all")
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "two\nlines.png").write_bytes((photos / "even" / "000.png").read_bytes())
    done = embed(photos)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{COUNT + 4} pictures: {COUNT} embedded, 4 failed")
    with (tmp_path / "vectors" / "failures.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "reason"],
        ["cut.png", "the PNG is cut off or damaged"],
        ["gone.png", "can't be read: No such file or directory"],
        ["notes.jpg", "not a JPEG, PNG or WebP picture"],
        ["two\nlines.png", "the file's name holds a line break or \\x01: rename it"],
    ]
    assert "failed: notes.jpg: not a JPEG, PNG or WebP picture" in done.stderr
    vectors = open_vectors(tmp_path / "vectors", space="visual", id_rule=None)
    assert [row.id for row in vectors.rows()] == list(expected_ids(photos))


def expected_ids(photos: Path) -> list[str]:
    return [item_id for item_id in read_folder(photos, "path").pictures if item_id.startswith(("even/", "odd/"))]


def test_a_finished_folder_is_left_as_it_is(embed: Embed, photos: Path, tmp_path: Path) -> None:
    (photos / "notes.jpg").write_text("no picture at all")
    assert embed(photos).returncode == 1
    before = (tmp_path / "vectors" / "embedding.npy").stat()
    again = embed(photos)
    assert again.returncode == 1
    assert f"1 failed, {COUNT + 1} of them by earlier runs" in again.stdout
    assert "failed: notes.jpg" in again.stderr
    assert (tmp_path / "vectors" / "embedding.npy").stat() == before


def test_another_folder_or_model_is_refused_and_named(embed: Embed, photos: Path, tmp_path: Path) -> None:
    assert embed(photos).returncode == 0
    (photos / "new.png").write_bytes((photos / "even" / "000.png").read_bytes())
    changed = embed(photos)
    assert changed.returncode == 2
    assert "belongs to another run: the pictures below the folder differ" in changed.stderr
    (photos / "new.png").unlink()
    manifest = tmp_path / "vectors" / "manifest.json"
    own = tiny_contract().fingerprint
    manifest.write_text(manifest.read_text().replace(own, "f" * 64))
    other = embed(photos)
    assert other.returncode == 2
    assert f"the model's fingerprint differ ({'f' * 64} there, {own} asked for)" in other.stderr


def test_a_folder_of_other_files_is_left_alone(embed: Embed, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "thesis.txt").write_text("years of work")
    done = embed(photos)
    assert done.returncode == 2
    assert "holds files that are no embedding" in done.stderr
    assert [path.name for path in (tmp_path / "vectors").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--outputs", "thoughts"], "has no thoughts; it has features, embedding"),
        (["--outputs", "features,embedding", "--format", "text"], "--format text holds one output"),
        (["--chunk", "3"], "--chunk 3: take 4 or more"),
        (["--model", "vgg99"], "doesn't serve vgg99"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    embed: Embed, photos: Path, arguments: list[str], message: str
) -> None:
    done = embed(photos, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_an_address_a_triton_is_started_and_ended(models: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 3)
    done = subprocess.run(
        [*command(tmp_path / "photos", tmp_path / "vectors"), "--repository", models],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "vectors" / "embedding.npy").shape == (3, DIMENSION)


def test_a_repository_without_models_is_told_with_the_servers_reason(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 1)
    done = subprocess.run(
        [*command(tmp_path / "photos", tmp_path / "vectors"), "--repository", tmp_path / "none"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "no Triton could be started: the model repository" in done.stderr
    assert sys.executable not in done.stderr


async def test_a_model_that_gives_another_answer_than_its_known_one_is_refused() -> None:
    async with FakeTriton(tiny_contract(0), seed=1) as triton:
        model = await asyncio.to_thread(TritonModel, triton.address, None)
        with model, pytest.raises(ExportError, match=r"doesn't give its known answer \("):
            await asyncio.to_thread(model.check)


async def test_an_address_with_nobody_behind_it_says_so() -> None:
    with pytest.raises(ExportError, match=r"the Triton at 127\.0\.0\.1:1 doesn't answer"):
        TritonModel("127.0.0.1:1", "tiny")


async def test_several_models_need_a_name() -> None:
    async with FakeTriton(tiny_contract(0), tiny_contract(1)) as triton:
        with pytest.raises(UsageError, match="name one with --model"):
            await asyncio.to_thread(TritonModel, triton.address, None)
