"""A second server on a folder, or one on a network file system, ends at once, says why and changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.triton import FakeTriton
from faults.kill.service import KillableService
from twinset_server.catalog import folder as catalog_folder
from twinset_server.catalog import hold
from twinset_server.errors import StartupError


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file but the wal-index, which readers write too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".sqlite-shm"
    }


async def settled(folder: Path) -> dict[str, str]:
    """Return the contents once the server's own builder has written what a start writes: two looks are equal."""
    before: dict[str, str] = {}
    while before != (now := contents(folder)):
        before = now
        await asyncio.sleep(1)
    return now


async def test_a_second_server_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with FakeTriton() as triton:
        first = KillableService(tmp_path / "first", triton.address, tmp_path / "first.log")
        await asyncio.to_thread(first.start)
        try:
            before = await settled(first.data)
            # In a thread: Triton lives in this process.
            second = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "twinset_server", "serve", "--data", first.data, "--triton-url", triton.address],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert second.returncode == 2
            assert f"another server (process {first.process.pid})" in second.stderr  # type: ignore[union-attr]
            assert contents(first.data) == before
        finally:
            first.stop()


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused_and_nothing_is_made_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"21 1 8:1 / / rw,relatime - ext4 /dev/root rw\n"
        f"40 21 0:50 / {tmp_path / 'far'} rw,relatime shared:9 - {kind} server:/share rw\n"
    )
    (tmp_path / "far").mkdir()
    monkeypatch.setattr(catalog_folder, "_MOUNTS", mounts)
    with pytest.raises(StartupError, match=rf"network file system \({kind}\).*choose a folder on a local disk"):
        hold(tmp_path / "far" / "catalogue").__enter__()
    assert list((tmp_path / "far").iterdir()) == []
