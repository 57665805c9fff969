"""Wrong input gives one clear line that says what to do, loses nothing, and never ends the server."""

import os
import shutil
import socket
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import BIN, SAMPLES, Server, Start
from twinset import Client

Run = Callable[..., subprocess.CompletedProcess[str]]


def _bomb() -> bytes:
    """Return a PNG that says 16000x10000 pixels in 467 KB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + bytes(16000 * 3)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row) for _ in range(10000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 16000, 10000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _truncated_jpeg() -> bytes:
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.effect_noise((200, 200), 80).convert("RGB").save(target, "JPEG")
    return target.getvalue()[:2000]


def _clean(result: subprocess.CompletedProcess[str]) -> str:
    """Return what was said on stderr, once it is sure to be no traceback."""
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def test_bad_files_are_listed_with_their_reason_and_the_rest_is_stored(
    start: Start, twinset: Run, tmp_path: Path
) -> None:
    server = start(tmp_path / "data")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, file in enumerate(sorted(SAMPLES.rglob("*.png"))[:5]):
        shutil.copy(file, folder / f"good{n}.png")
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "cut.jpg").write_bytes(_truncated_jpeg())
    (folder / "bomb.png").write_bytes(_bomb())
    (folder / "empty.png").write_bytes(b"")

    put = twinset("--server", server.address, "put", folder)
    said = _clean(put) + put.stdout
    assert put.returncode == 1
    for name in ("text.jpg", "cut.jpg", "bomb.png", "empty.png"):
        assert name in said
    assert "16000" in said
    with Client(server.address) as client:
        assert sorted(item.id for item in client.list_items()) == [f"good{n}" for n in range(5)]
    assert server.process.poll() is None


def test_a_second_put_sends_only_what_changed(start: Start, twinset: Run, tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = sorted(SAMPLES.rglob("*.png"))[:6]
    for n, file in enumerate(files[:5]):
        shutil.copy(file, folder / f"{n}.png")
    assert twinset("--server", server.address, "put", folder).returncode == 0
    with Client(server.address) as client:
        before = {item.id: item.etag for item in client.list_items()}
        shutil.copy(files[5], folder / "3.png")
        assert twinset("--server", server.address, "put", folder).returncode == 0
        after = {item.id: item.etag for item in client.list_items()}
    assert {item_id for item_id in before if before[item_id] != after[item_id]} == {"3"}


def test_an_empty_folder_is_an_error(server: Server, twinset: Run, tmp_path: Path) -> None:
    put = twinset("--server", server.address, "put", tmp_path)
    assert put.returncode == 2
    assert str(tmp_path) in _clean(put)


def test_an_unknown_item_is_an_error_that_names_it(server: Server, twinset: Run) -> None:
    asked = twinset("--server", server.address, "recommend", "--item", "no-such-item")
    assert asked.returncode == 2
    assert "no-such-item" in _clean(asked)


def test_a_text_file_as_query_is_an_error(server: Server, twinset: Run, tmp_path: Path) -> None:
    file = tmp_path / "text.jpg"
    file.write_text("this is no picture")
    asked = twinset("--server", server.address, "recommend", "--image", file)
    assert asked.returncode == 2
    assert "JPEG" in _clean(asked)


def test_a_server_that_is_not_there_is_named(twinset: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    asked = twinset("--server", address, "status", timeout_s=20)
    assert asked.returncode == 2
    assert address in _clean(asked)
    assert "twinset-server serve" in _clean(asked)


def _serve(*options: str | Path, repository: Path) -> subprocess.CompletedProcess[str]:
    command = [BIN / "twinset-server", "serve", "--model-repository", repository, *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_a_port_in_use_is_named(server: Server, repository: Path, tmp_path: Path) -> None:
    port = server.address.rpartition(":")[2]
    second = _serve("--port", port, "--data", tmp_path / "other", repository=repository)
    assert second.returncode == 2
    assert port in _clean(second)
    assert "--port" in _clean(second)


def test_a_catalogue_in_use_is_named(start: Start, repository: Path, tmp_path: Path) -> None:
    start(tmp_path / "data")
    second = _serve("--port", "0", "--data", tmp_path / "data", repository=repository)
    assert second.returncode == 2
    assert str(tmp_path / "data") in _clean(second)


def test_a_data_folder_that_is_a_file_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = _serve("--port", "0", "--data", tmp_path / "file", repository=repository)
    assert failed.returncode == 2
    assert str(tmp_path / "file") in _clean(failed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(repository: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    failed = _serve("--port", "0", "--data", tmp_path / "data", repository=repository)
    tmp_path.chmod(0o700)
    assert failed.returncode == 2
    assert str(tmp_path / "data") in _clean(failed)


def test_an_empty_model_repository_says_how_to_export(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    failed = _serve("--port", "0", "--data", tmp_path / "data", repository=tmp_path / "models")
    assert failed.returncode == 2
    assert "twinset-exporter export" in _clean(failed)


def test_a_misspelt_setting_is_named(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[server]\nprot = 1\n")
    failed = _serve("--config", tmp_path / "settings.toml", repository=repository)
    assert failed.returncode == 2
    assert "server.prot" in _clean(failed)
