import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes.items import delete, new_picture, put, writable
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.store.collector import Collector
from twinset_server.config import StoreSettings
from twinset_server.domain import ItemUpdate


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}) as opened:
        yield opened


@pytest.fixture
def collector(catalog: SqliteCatalog, tmp_path: Path) -> Iterator[Collector]:
    opened = Collector(Folder(tmp_path))
    yield opened
    opened.close()


def contents_in(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in (folder / "pictures").rglob("*") if path.is_file()}


def sweep(collector: Collector) -> int:
    return sum(collector.sweep() or 0 for _ in range(collector.directories()))


async def test_what_nothing_shows_any_more_is_collected_in_slices(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    await put(catalog, [writable(str(n), pictures=[new_picture("0", b"%d" % n)]) for n in range(100)])
    await catalog.write([ItemUpdate(str(n), pictures=[]) for n in range(1, 100)])
    assert (collector.collect(), collector.collect(), collector.collect()) == (64, 35, 0)
    assert contents_in(tmp_path) == {b"0"}


async def test_nothing_is_collected_while_a_writer_holds_pictures_that_are_in_no_row_yet(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    await put(catalog, [writable("a", pictures=[new_picture("0", b"a")])])
    await delete(catalog, "a")
    writer = Folder(tmp_path).pictures_lock()
    with writer.shared():
        assert collector.collect() == 0
    assert contents_in(tmp_path) == {b"a"}
    assert collector.collect() == 1
    assert contents_in(tmp_path) == set()
    writer.close()


async def test_pictures_of_a_feed_are_neither_collected_nor_swept_and_go_with_it(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    shared = new_picture("0", b"shared")
    await put(catalog, [writable("a", pictures=[shared])])
    async with catalog.feed() as feed:
        await feed.stage([writable("a", pictures=[shared]), writable("b", pictures=[new_picture("0", b"feed")])])
        await delete(catalog, "a")
        assert (collector.collect(), sweep(collector)) == (0, 0)
        assert contents_in(tmp_path) == {b"shared", b"feed"}
    assert collector.collect() == 2
    assert contents_in(tmp_path) == set()


async def test_pictures_of_a_committed_feed_stay(catalog: SqliteCatalog, collector: Collector, tmp_path: Path) -> None:
    await put(catalog, [writable("old", pictures=[new_picture("0", b"old")])])
    async with catalog.feed() as feed:
        await feed.stage([writable("new", pictures=[new_picture("0", b"new")])])
        await feed.commit()
    while collector.collect():
        pass
    assert sweep(collector) == 0
    assert contents_in(tmp_path) == {b"new"}
    assert (await catalog.picture("new", "")).content == b"new"


async def test_what_a_killed_process_left_is_swept(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    await put(catalog, [writable("a", pictures=[new_picture("0", b"used")])])
    orphan = new_picture("0", b"orphan").picture.sha256
    (tmp_path / "pictures" / orphan[:2] / orphan[2:]).write_bytes(b"orphan")
    (tmp_path / "pictures" / "incoming" / "half").write_bytes(b"ha")
    assert sweep(collector) == 2
    assert contents_in(tmp_path) == {b"used"}


async def test_a_sweep_that_a_writer_refuses_comes_again(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    (tmp_path / "pictures" / "incoming" / "half").write_bytes(b"ha")
    writer = Folder(tmp_path).pictures_lock()
    with writer.shared():
        while (removed := collector.sweep()) == 0:
            pass
        assert removed is None
    assert collector.sweep() == 1
    writer.close()


async def test_a_gap_between_writers_is_waited_for(
    catalog: SqliteCatalog, collector: Collector, tmp_path: Path
) -> None:
    await put(catalog, [writable("a", pictures=[new_picture("0", b"a")])])
    await delete(catalog, "a")
    with contextlib.ExitStack() as writing:
        writer = Folder(tmp_path).pictures_lock()
        writing.callback(writer.close)
        writing.enter_context(writer.shared())
        leaving = threading.Timer(0.02, writing.pop_all().close)
        leaving.start()
        assert collector.collect() == 1
    leaving.join()
