"""What operators do to a catalogue while a server with two workers takes writes: everything is the real one."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e.conftest import BIN
from fakes.models import SIDE, write_tiny_model
from twinset import Client, Item, Picture

FEW = 60
"""Items put before anything else, so that there is something to copy."""

PAUSE_S = 0.02
"""Between puts: without one they take the processor from the operators' commands, which last four times as long."""


def picture(number: int) -> bytes:
    """Return a picture that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


class Putting:
    """Puts items one after another, until its context ends. `put` are the ids of those that were acknowledged."""

    def __init__(self, address: str) -> None:
        self.put: list[str] = []
        self._stop = threading.Event()
        self._address = address
        self._thread = threading.Thread(target=self._run)
        self._failure: Exception | None = None

    def __enter__(self) -> Putting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._failure is None, self._failure

    def wait_for(self, count: int) -> None:
        """Return when so many more are put."""
        until = len(self.put) + count
        while len(self.put) < until:
            assert not self._stop.wait(0.01)
            assert self._thread.is_alive(), self._failure

    def _run(self) -> None:
        try:
            with Client(self._address) as client:
                for number in itertools.count():
                    if self._stop.wait(PAUSE_S):
                        return
                    item = Item(id=f"item {number}", pictures=[Picture(content=picture(number))])
                    (result,) = client.put_items([item])
                    assert result.error is None
                    self.put.append(item.id)
        except Exception as error:  # told to the thread of the test
            self._failure = error


@contextlib.contextmanager
def serving(data: Path, models: Path) -> Iterator[str]:
    """Serve the folder with two workers while the context is open; give the address."""
    command = [BIN / "twinset-server", "serve", "--port", "0", "--workers", "2", "--data", data]
    with (
        data.with_suffix(".log").open("a") as log,
        subprocess.Popen(
            [*command, "--model-repository", models], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            found = next((f for line in process.stdout if (f := re.search(r"twinset serves on (\S+)", line))), None)
            assert found, data.with_suffix(".log").read_text()
            yield found[1]
        finally:
            process.terminate()


def ran(*arguments: str | Path) -> str:
    """Return what `twinset-server` printed; it must end well."""
    command = [BIN / "twinset-server", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder)
    return folder


def test_a_catalogue_is_kept_while_it_takes_writes(models: Path, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    with serving(data, models) as address, Client(address) as client:
        with Putting(address) as putting:
            putting.wait_for(FEW)
            before = len(putting.put)
            ran("backup", tmp_path / "backups", "--name", "one", "--data", data)
            after = len(putting.put)
            for command in ("rebuild", "compact", "check"):
                said = ran(command, "--data", data)
            assert said.endswith("no findings\n"), said
            putting.wait_for(1)
        stored = {item.id for item in client.list_items()}
        assert stored == set(putting.put)
        for number in (0, before - 1, len(putting.put) - 1):
            assert client.recommend(picture=picture(number), k=1)[0].item.id == f"item {number}"
        client.delete_item("item 0")
        assert "built anew: visual" in ran("compact", "--data", data)
        assert client.recommend(picture=picture(1), k=1)[0].item.id == "item 1"

    assert f"{other} holds no catalogue" in _refused("check", "--data", other)
    ran("restore", tmp_path / "backups/one", "--data", other)
    for command in ("check", "compact", "rebuild", "check"):
        said = ran(command, "--data", other)
    assert said.endswith("no findings\n"), said
    with serving(other, models) as address, Client(address) as client:
        restored = {item.id for item in client.list_items()}
        # What was acknowledged before is in it, and it ends with one item: none before that is missing.
        assert before <= len(restored) <= after + 1
        assert restored == {f"item {number}" for number in range(len(restored))}
        for number in (0, len(restored) - 1):
            assert client.get_picture(f"item {number}").content == picture(number)
            assert client.recommend(picture=picture(number), k=1)[0].item.id == f"item {number}"


def _refused(*arguments: str | Path) -> str:
    done = subprocess.run([BIN / "twinset-server", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr
