import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinset_server.catalog.store import pictures as pictures_module
from twinset_server.catalog.store.pictures import PictureFiles
from twinset_server.errors import DiskFull, StoreUnavailable


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[PictureFiles]:
    files = PictureFiles(tmp_path)
    files.prepare()
    yield files
    files.close()


def by_sha256(*contents: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_content_lies_in_a_file_named_by_its_sha256(pictures: PictureFiles, tmp_path: Path) -> None:
    contents = by_sha256(b"one", b"two")
    assert pictures.write(contents) == {}
    assert files_in(tmp_path) == sorted(f"{sha256[:2]}/{sha256[2:]}" for sha256 in contents)
    assert {sha256: pictures.read(sha256) for sha256 in contents} == contents


def test_a_damaged_content_is_an_error_and_is_mended_by_the_next_write(
    pictures: PictureFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contents = by_sha256(b"one")
    pictures.write(contents)
    [sha256] = contents
    (tmp_path / sha256[:2] / sha256[2:]).write_bytes(b"onE")
    with pytest.raises(StoreUnavailable, match="damaged"):
        pictures.read(sha256)
    assert "another SHA-256" in caplog.text
    pictures.write(contents)
    assert pictures.read(sha256) == b"one"


def test_a_full_disk_fails_the_contents_that_did_not_fit(
    pictures: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = by_sha256(b"small", b"large" * 1000)
    small, large = contents

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").stat().st_size == 5000:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures_module.os, "fsync", fsync)
    errors = pictures.write(contents)
    assert {sha256: type(error) for sha256, error in errors.items()} == {large: DiskFull}
    assert files_in(tmp_path) == [f"{small[:2]}/{small[2:]}"]


def test_contents_count_as_written_only_once_their_directory_is_synced(
    pictures: PictureFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(directory: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pictures_module, "sync", sync)
    contents = by_sha256(b"one")
    assert [type(error) for error in pictures.write(contents).values()] == [StoreUnavailable]
