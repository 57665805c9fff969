"""A run's memory is bounded, and what goes wrong on the way loses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes.bulk import COUNT, write_pictures
from fakes.models import run_locally, tiny_contract
from twinset_exporter.embedding.files import read_failures
from twinset_exporter.embedding.parts import OutputFolder, Part
from twinset_exporter.embedding.pictures import Listing, list_pictures
from twinset_exporter.embedding.run import SMALLEST_CHUNK, Request, Result, embed, sizes
from twinset_exporter.errors import ExportError, UsageError


class LocalModel:
    """The tiny model in this process; `spoil` changes an answer, `asked` counts pictures."""

    def __init__(self) -> None:
        self.contract = tiny_contract()
        self.name = self.contract.model
        self.outputs = {"features": 16, "embedding": 16}
        self.max_batch = 32
        self.asked = 0
        self.spoil: Callable[[dict[str, NDArray[np.float32]]], None] = lambda rows: None
        self._lock = threading.Lock()

    def infer(self, pictures: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            self.asked += len(pictures)
        rows = {name: run_locally(pictures)[name].copy() for name in outputs}
        self.spoil(rows)
        return rows


@pytest.fixture
def model() -> LocalModel:
    return LocalModel()


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    write_pictures(tmp_path / "photos")
    return list_pictures(tmp_path / "photos", "path")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[OutputFolder]:
    with closing(OutputFolder(tmp_path / "vectors")) as opened:
        yield opened


def run(model: LocalModel, listing: Listing, folder: OutputFolder, chunk: int = 8) -> Result:
    return embed(model, listing, Request((), "npy", "path", chunk), folder, lambda done: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [SMALLEST_CHUNK, 8, 64, 512])
@pytest.mark.parametrize("max_batch", [1, 64])
def test_no_more_than_a_chunk_is_under_way_or_unwritten(
    model: LocalModel, listing: Listing, folder: OutputFolder, chunk: int, max_batch: int
) -> None:
    model.max_batch = max_batch
    written = 0
    most = 0
    infer, write_part = model.infer, folder.write_part

    def watched_infer(pictures: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        nonlocal most
        rows = infer(pictures, outputs)
        most = max(most, model.asked - written)
        return rows

    def watched_write(number: int, part: Part) -> None:
        nonlocal written
        write_part(number, part)
        written += len(part.places)

    model.infer, folder.write_part = watched_infer, watched_write  # type: ignore[method-assign]
    assert run(model, listing, folder, chunk).fresh == COUNT
    assert most <= chunk


def test_a_part_and_the_batches_ahead_of_it_make_up_a_chunk() -> None:
    for chunk in range(SMALLEST_CHUNK, 200):
        part, batch = sizes(chunk, 64)
        assert 1 <= batch <= 16
        assert part + 2 * batch <= chunk


def test_a_triton_that_fails_loses_nothing_that_was_done(
    model: LocalModel, listing: Listing, folder: OutputFolder
) -> None:
    def fail(rows: object) -> None:
        if model.asked > 20:
            raise ExportError("the Triton at x:1 fails")

    model.spoil = fail
    with pytest.raises(ExportError, match="fails"):
        run(model, listing, folder)
    model.spoil = lambda rows: None
    done = COUNT - run(model, listing, folder).fresh
    assert done >= 8
    assert np.load(folder.path / "embedding.npy").shape[0] == COUNT


def test_a_picture_that_the_model_cant_answer_for_is_listed(
    model: LocalModel, listing: Listing, folder: OutputFolder
) -> None:
    answered: list[int] = []

    def spoil(rows: dict[str, NDArray[np.float32]]) -> None:
        answered.append(len(rows["embedding"]))
        if sum(answered) == len(rows["embedding"]):
            rows["embedding"][0, 3] = np.nan
            rows["embedding"][1] = 0

    model.spoil = spoil
    assert run(model, listing, folder).manifest.failed == 2
    reasons = sorted(reason for _, reason in read_failures(folder.path))
    assert reasons == [
        "the model's embedding of it has components that are not finite numbers",
        "the model's embedding of it isn't of unit length",
    ]
    vectors = np.load(folder.path / "embedding.npy")
    assert vectors.shape[0] == COUNT - 2
    assert np.isfinite(vectors).all()
    assert len((folder.path / "ids.txt").read_text().splitlines()) == COUNT - 2


def test_a_damaged_part_is_made_anew(model: LocalModel, listing: Listing, folder: OutputFolder) -> None:
    def damage(done: int) -> None:
        if done == COUNT:
            path = folder.path / ".parts" / "000002.npz"
            path.write_bytes(path.read_bytes()[:100])

    request = Request((), "npy", "path", 8)
    with pytest.raises(ExportError, match=r"000002\.npz was damaged .*run the same command again"):
        embed(model, listing, request, folder, damage)  # type: ignore[arg-type]
    assert run(model, listing, folder).fresh == 4


def test_two_runs_never_write_to_one_folder(folder: OutputFolder) -> None:
    with pytest.raises(UsageError, match="another run writes to"):
        OutputFolder(folder.path)


def test_a_folder_where_every_picture_is_bad_gives_empty_files(
    model: LocalModel, tmp_path: Path, folder: OutputFolder
) -> None:
    (tmp_path / "bad").mkdir()
    for number in range(9):
        (tmp_path / "bad" / f"{number}.png").write_text("no picture")
    assert run(model, list_pictures(tmp_path / "bad", "path"), folder).manifest.failed == 9
    assert np.load(folder.path / "embedding.npy").shape == (0, 16)
