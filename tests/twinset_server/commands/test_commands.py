"""The operators' commands, on a folder that nobody serves and on one that a server holds."""

import asyncio
import fcntl
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.authority import Authority
from fakes.folder import FakeHandle, WrittenFolder, contents
from twinset_server.access import Access, Scope, read_tokens
from twinset_server.admin import AdminServer
from twinset_server.catalog.folder import hold
from twinset_server.config import AccessSettings, AdminSettings, TlsSettings


@pytest.fixture
def written(tmp_path: Path) -> Iterator[WrittenFolder]:
    folder = WrittenFolder(tmp_path / "data")
    folder.put("a", b"picture of a")
    folder.put("b", b"picture of b")
    folder.delete("b")
    yield folder
    folder.connection.close()


@pytest.fixture
def served(written: WrittenFolder) -> Iterator[FakeHandle]:
    """A server in a thread of this process that holds the folder."""
    ready, stop = threading.Event(), threading.Event()
    handle = FakeHandle(written)

    async def serve() -> None:
        with hold(written.path):
            server = AdminServer(AdminSettings(port=0), handle)
            await server.start()
            ready.set()
            await asyncio.to_thread(stop.wait)
            await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield handle
    stop.set()
    thread.join()


def run(tmp_path: Path, *arguments: object, code: int = 0) -> tuple[str, str]:
    """Return what `twinset-server` printed and said in `tmp_path`; it must end with `code`."""
    command = [sys.executable, "-m", "twinset_server", *map(str, arguments)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout, ran.stderr


def test_an_idle_folder_is_worked_on_directly(written: WrittenFolder, tmp_path: Path) -> None:
    written.connection.close()
    out, err = run(tmp_path, "backup", "backups", "--name", "one", "--data", "data")
    assert out.startswith(f"{tmp_path}/backups/one: 1 items and 1 pictures in ")
    assert "starting" in err
    out, _ = run(tmp_path, "restore", "backups/one", "--data", "new")
    assert out == "restored 1 items and 1 pictures, up to change 3\n"
    assert contents(tmp_path / "new") == contents(written.path)
    out, _ = run(tmp_path, "compact", "--data", "data")
    assert "1 unused pictures are gone" in out
    out, _ = run(tmp_path, "check", "--data", "data")
    assert out.endswith("no findings\n")
    assert run(tmp_path, "rebuild", "--data", "data")[0] == "built from the stored vectors: visual\n"


def test_a_served_folder_is_worked_on_by_its_server(written: WrittenFolder, served: FakeHandle, tmp_path: Path) -> None:
    out, _ = run(tmp_path, "rebuild", "--space", "visual", "--data", "data")
    assert out == "built from the stored vectors: visual\n"
    assert served.rebuilt == [("visual", False)]
    run(tmp_path, "backup", "backups", "--name", "one", "--data", "data")
    before = contents(written.path)
    address = json.loads((written.path / "server.json").read_text())["admin"]
    out, _ = run(tmp_path, "restore", tmp_path / "backups/one", "--address", address)
    assert "what was there before had 3 changes" in out
    assert contents(written.path) == before


def test_findings_end_a_check_with_1(written: WrittenFolder, tmp_path: Path) -> None:
    written.picture(b"picture of a").unlink()
    out, _ = run(tmp_path, "check", "--data", "data", code=1)
    assert "error: pictures/" in out
    assert "put again with this picture: 'a'" in out


def test_space_to_free_is_told_and_ends_a_check_with_0(written: WrittenFolder, tmp_path: Path) -> None:
    out, _ = run(tmp_path, "check", "--data", "data")
    assert out.startswith("info: pictures/")
    assert "twinset-server compact" in out


def test_a_backup_that_lacks_pictures_ends_with_1(written: WrittenFolder, tmp_path: Path) -> None:
    written.picture(b"picture of a").unlink()
    _, err = run(tmp_path, "backup", "backups", "--data", "data", code=1)
    assert "lost before: the picture with SHA-256" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--data", "nothing"], "nothing holds no catalogue: name the folder of one with --data"),
        (["restore", ".", "--data", "new"], "is no backup: it has no backup.json"),
        (["rebuild", "--space", "gone", "--data", "data"], "no space 'gone': the catalogue has visual"),
        (["check", "--address", "127.0.0.1:1"], "no twinset-server answers operators at 127.0.0.1:1: name host:port"),
        (["backup", "data/inside", "--data", "data"], "own folder"),
        (["check", "--config", "no.toml"], "no settings file no.toml"),
    ],
)
def test_a_failure_is_one_line_and_ends_with_2(
    written: WrittenFolder, tmp_path: Path, arguments: list[str], said: str
) -> None:
    out, err = run(tmp_path, *arguments, code=2)
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("twinset-server: ")
    assert said in last


def test_a_server_that_doesn_t_say_where_it_is_is_named(written: WrittenFolder, tmp_path: Path) -> None:
    with hold(written.path):
        _, err = run(tmp_path, "check", "--data", "data", code=2)
    assert "another server" in err


def test_ctrl_c_cancels_and_leaves_nothing(written: WrittenFolder, tmp_path: Path) -> None:
    # Whoever keeps pictures makes the compaction wait, so that it can't end before the signal.

    with (written.path / "pictures.lock").open("w") as blocking:
        fcntl.flock(blocking, fcntl.LOCK_SH)
        command = [sys.executable, "-m", "twinset_server", "compact", "--data", str(written.path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            while process.stderr.readline() != "removing unused pictures\n":
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("twinset-server: the operation was cancelled; it left nothing behind\n")
    assert len(contents(written.path)["items"]) == 1


def test_a_token_is_made_and_named_once(tmp_path: Path) -> None:
    secret, _ = run(tmp_path, "token", "shop", "--file", "tokens.toml", "--scope", "read", "--calls-per-s", "5")
    run(tmp_path, "token", "ops", "--file", "tokens.toml", "--scope", "admin", "--scope", "read")
    _, err = run(tmp_path, "token", "shop", "--file", "tokens.toml", "--scope", "read", code=2)
    assert "has a token 'shop' already" in err
    assert run(tmp_path, "token", "a b", "--file", "tokens.toml", "--scope", "read", code=2)[1].startswith(
        "twinset-server: a token's name"
    )
    path = tmp_path / "tokens.toml"
    assert path.stat().st_mode & 0o077 == 0
    shop = Access(path).check(secret.strip(), Scope.READ)
    assert (shop.name, shop.scopes, shop.calls_per_s) == ("shop", {Scope.READ}, 5)
    assert [token.name for token in read_tokens(path)] == ["shop", "ops"]


def test_a_server_elsewhere_is_shown_a_token_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue()
    secret = run(tmp_path, "token", "ops", "--file", "tokens.toml", "--scope", "admin")[0].strip()
    written = WrittenFolder(tmp_path / "data")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)

    async def asked() -> tuple[str, str]:
        access = AccessSettings(tokens=tmp_path / "tokens.toml")
        server = AdminServer(AdminSettings(port=0), FakeHandle(written), tls=tls, access=access)
        address = f"localhost:{await server.start()}"
        try:
            monkeypatch.setenv("TWINSET_TLS_AUTHORITY", str(authority.certificate))
            _, refused = await asyncio.to_thread(run, tmp_path, "check", "--address", address, code=2)
            monkeypatch.setenv("TWINSET_TOKEN", secret)
            return refused, (await asyncio.to_thread(run, tmp_path, "check", "--address", address))[0]
        finally:
            await server.stop()

    refused, found = asyncio.run(asked())
    written.connection.close()
    assert "the call needs a token" in refused
    assert found.endswith("no findings\n")
