import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from twinset_server.catalog import open_alone
from twinset_server.catalog.store.schema import open_writer
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.errors import StartupError


async def refusal(path: Path, external: dict[str, ExternalSpace] | None = None) -> str:
    with pytest.raises(StartupError) as caught:
        async with open_alone(StoreSettings(path=path), external or {}):
            pass
    return str(caught.value)


async def test_a_second_server_on_the_folder_is_refused_at_once(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}):
        message = await refusal(tmp_path)
    assert str(tmp_path) in message
    assert f"process {os.getpid()}" in message
    async with open_alone(StoreSettings(path=tmp_path), {}) as again:
        assert (await again.status()).items == 0


async def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "is a file" in await refusal(tmp_path / "file")
    assert "--data" in await refusal(tmp_path / "file" / "below")


def test_a_folder_without_write_permission_is_refused() -> None:
    program = (
        "import asyncio, os, pathlib, sys\n"
        "from twinset_server.catalog import open_alone\n"
        "from twinset_server.config import StoreSettings\n"
        "from twinset_server.errors import StartupError\n"
        "async def main():\n"
        "    try:\n"
        "        async with open_alone(StoreSettings(path=pathlib.Path(sys.argv[1])), {}): print('opened')\n"
        "    except StartupError as error: print(error)\n"
        # Root may write anywhere, so as root another user tries.
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "asyncio.run(main())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=True)
        assert f"{folder} can't be written (Permission denied)" in done.stdout
        assert "permission" in done.stdout


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"something else" * 1000)
    message = await refusal(tmp_path)
    assert str(tmp_path / "catalog.sqlite") in message
    assert "file is not a database" in message


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    assert "another program" in await refusal(tmp_path)


async def test_a_catalogue_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}):
        pass
    connection = open_writer(tmp_path / "catalog.sqlite")
    connection.execute("UPDATE meta SET value = 3 WHERE name = 'version'")
    connection.close()
    message = await refusal(tmp_path)
    assert "schema version 3" in message
    assert "version 2" in message


async def test_an_external_space_of_another_dimension_is_refused_by_both_fingerprints(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {"own": ExternalSpace(dimension=3)}) as catalog:
        fingerprint = catalog.spaces()["own"].fingerprint
        assert fingerprint == hashlib.sha256(b"external space own 3 cosine").hexdigest()
    message = await refusal(tmp_path, {"own": ExternalSpace(dimension=4)})
    assert fingerprint in message
    assert "dimension 3" in message
    assert "dimension 4" in message
    async with open_alone(StoreSettings(path=tmp_path), {"own": ExternalSpace(dimension=3)}) as catalog:
        assert catalog.spaces()["own"].dimension == 3


async def test_a_clean_end_leaves_no_log(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}):
        assert (tmp_path / "catalog.sqlite-wal").exists()
    assert not (tmp_path / "catalog.sqlite-wal").exists()
    assert list((tmp_path / "index").iterdir()) == []
