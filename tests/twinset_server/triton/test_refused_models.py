"""Where the repository is local, a model whose files aren't those of its card is refused before Triton starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.models import tiny_onnx, write_tiny_model
from twinset.card import FileDigest
from twinset_server.config import TritonSettings
from twinset_server.errors import StartupError
from twinset_server.triton import embedded, open_embedder
from twinset_server.triton.served_model import read_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def spawn(self: embedded.EmbeddedTriton) -> None:
        raise AssertionError("Triton was started")

    monkeypatch.setattr(embedded.EmbeddedTriton, "_spawn", spawn)
    return tmp_path / write_tiny_model(tmp_path)


def truncate(folder: Path) -> None:
    os.truncate(folder / "1" / "model.onnx", 1000)


def edit_config(folder: Path) -> None:
    config = folder / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))


def swap_weights(folder: Path) -> None:
    (folder / "1" / "model.onnx").write_bytes(tiny_onnx(seed=1))


def swap_card(folder: Path) -> None:
    other = write_tiny_model(folder.parent, seed=1)
    shutil.copy(folder.parent / other / "card.json", folder)


def add_version(folder: Path) -> None:
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").write_bytes(tiny_onnx(seed=1))


async def refusal(folder: Path, **options: bool) -> str:
    settings = TritonSettings(model_repository=folder.parent, model=folder.name)
    with pytest.raises(StartupError) as caught:
        async with open_embedder(settings, **options):
            pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("plant", "file"),
    [
        (truncate, "1/model.onnx"),
        (edit_config, "config.pbtxt"),
        (swap_weights, "1/model.onnx"),
        (swap_card, "card.json"),
        (add_version, "2/model.onnx"),
    ],
)
async def test_a_changed_model_is_refused_and_the_file_named(
    folder: Path, plant: Callable[[Path], None], file: str
) -> None:
    plant(folder)
    text = await refusal(folder)
    assert text.startswith(f"the model {folder.name} is refused: it is not what was published.\n  {file}: ")
    assert f"move {folder} away and export it again" in text


async def test_the_refusal_tells_the_actual_and_the_expected_digest(folder: Path) -> None:
    swap_weights(folder)
    text = await refusal(folder)
    assert f"SHA-256 is {FileDigest.of(tiny_onnx(1))}, its card says {FileDigest.of(tiny_onnx(0))}" in text


async def test_a_model_without_a_card_is_refused(folder: Path) -> None:
    (folder / "card.json").unlink()
    assert f"{folder / 'card.json'} is missing" in await refusal(folder)


async def test_a_server_that_would_start_without_triton_refuses_too(folder: Path) -> None:
    truncate(folder)
    assert "is refused" in await refusal(folder, wait=False)


async def test_a_model_as_published_goes_on_to_triton(folder: Path) -> None:
    host = embedded.EmbeddedTriton(read_model(folder), folder.parent, startup_timeout_s=1)
    try:
        with pytest.raises(AssertionError, match="Triton was started"):
            await host.start()
    finally:
        host.close()
