from pathlib import Path

import numpy as np
import pytest

from twinset_server.catalog.index.checksums import Stopped, SummedFile, Unsound, opened, summed, write_synced


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = write_synced(tmp_path / "file", np.arange(1000))
    np.testing.assert_array_equal(opened(tmp_path / "file", written).view(np.int64), np.arange(1000))
    assert summed(tmp_path / "file") == written


def test_pieces_make_the_same_sum_as_the_whole(tmp_path: Path) -> None:
    with SummedFile(tmp_path / "pieces") as file:
        for start in range(0, 100, 30):
            file.write(np.arange(100)[start : start + 30])
        assert file.sum == write_synced(tmp_path / "whole", np.arange(100))


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    assert len(opened(tmp_path / "file", write_synced(tmp_path / "file", np.empty(0)))) == 0


def test_a_file_of_another_content_is_unsound(tmp_path: Path) -> None:
    expected = write_synced(tmp_path / "file", np.arange(10))
    write_synced(tmp_path / "other", np.arange(10)[::-1])
    with pytest.raises(Unsound, match="other has another content"):
        opened(tmp_path / "other", expected)


def test_a_missing_file_is_unsound(tmp_path: Path) -> None:
    expected = write_synced(tmp_path / "file", np.arange(10))
    with pytest.raises(Unsound, match="absent can't be read"):
        opened(tmp_path / "absent", expected)


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    write_synced(tmp_path / "file", np.arange(10))
    with pytest.raises(FileExistsError):
        write_synced(tmp_path / "file", np.arange(10))


def test_an_open_file_outlives_its_name(tmp_path: Path) -> None:
    pages = opened(tmp_path / "file", write_synced(tmp_path / "file", np.arange(10)))
    (tmp_path / "file").unlink()
    np.testing.assert_array_equal(pages.view(np.int64), np.arange(10))


def test_hashing_ends_when_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        opened(tmp_path / "file", write_synced(tmp_path / "file", np.arange(10)), lambda: True)
