import asyncio
import contextlib
import datetime
import io
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.items import delete, new_picture, put, unit, vectored, writable
from fakes.pictures import png
from twinset.contract import Metric
from twinset_server.catalog import Folder, SqliteCatalog, declare_spaces, hold, open_alone, open_catalog
from twinset_server.catalog.index.search import scan
from twinset_server.catalog.index.views import View
from twinset_server.catalog.index.walks import Query
from twinset_server.catalog.store.changes import Changes
from twinset_server.catalog.store.collector import Collector
from twinset_server.catalog.store.staging import Staging
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import (
    Change,
    Interaction,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    Receipt,
    SearchResult,
    Space,
    WritableItem,
    WritableUser,
)
from twinset_server.errors import (
    BadPicture,
    DiskFull,
    FailedPrecondition,
    IndexBehind,
    InvalidRequest,
    PictureNotStored,
    StoreUnavailable,
)

VISUAL = Space("visual", 3, Metric.COSINE, "a" * 64)


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}, [VISUAL]) as opened:
        yield opened


def contents_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "pictures").rglob("*") if path.is_file()]


def collect(folder: Path) -> None:
    """Collect all that is due."""
    collector = Collector(Folder(folder))
    while collector.collect():
        pass
    collector.close()


def rows(folder: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        return connection.execute(statement).fetchall()


def two_pictures(title: str, *, second: bytes = b"two") -> WritableItem:
    vectors = [ItemVector("visual", "0", unit(1, 2, 2)), ItemVector("visual", "1", unit(0, 1, len(second)))]
    return writable("shoe", vectors, [new_picture("0", b"one"), new_picture("1", second)], title=title)


async def test_a_put_that_changes_no_vector_touches_neither_vectors_nor_index(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    await put(catalog, [two_pictures("a")])
    before = rows(tmp_path, "SELECT * FROM vectors")
    await put(catalog, [two_pictures("b")])
    async with catalog.feed() as feed:
        await feed.stage([two_pictures("c")])
        assert (await feed.commit()).replaced == 1
    [item] = await catalog.get(["shoe"], vectors=False)
    assert item is not None
    assert item.title == "c"
    assert rows(tmp_path, "SELECT * FROM vectors") == before
    assert rows(tmp_path, "SELECT * FROM dead") == []


async def test_a_picture_replaced_ends_its_vector_and_no_other(catalog: SqliteCatalog, tmp_path: Path) -> None:
    await put(catalog, [two_pictures("a")])
    await put(catalog, [two_pictures("a", second=b"another")])
    assert rows(tmp_path, "SELECT key FROM vectors") == [(1,), (3,)]
    assert rows(tmp_path, "SELECT seq, key FROM dead") == [(2, 2)]


async def test_a_damaged_vector_never_stands_for_a_picture(catalog: SqliteCatalog, tmp_path: Path) -> None:
    await put(catalog, [two_pictures("a")])
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE vectors SET value = x'0000' WHERE key = 1")
        connection.execute("UPDATE vectors SET value = zeroblob(12) WHERE key = 2")
    shas = {new_picture("0", content).picture.sha256 for content in (b"one", b"two")}
    assert await catalog.picture_vectors({"shoe": shas}) == {}


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = StoreSettings(path=tmp_path)
    spaces = {"own": ExternalSpace(dimension=2, metric=Metric.EUCLIDEAN)}
    async with open_alone(settings, spaces) as catalog:
        await put(catalog, [vectored(str(x), np.array([x, 1], np.float32), space="own") for x in range(9)])
        await put(catalog, [writable("bag", pictures=[new_picture("0", b"bag")], attributes={"n": 1.0})])
        await put(catalog, [writable("guess", category="sofa", category_probability=0.75)])
        await delete(catalog, "3")
        time = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        written = await catalog.write([WritableUser("u", {"n": 1}), Interaction("u", "bag", "buy", 1.0, time)])
        [_, bought] = written.outcomes
        assert isinstance(bought, Receipt)
        sequence = bought.sequence
        before = await catalog.page(after="", limit=100, vectors=False)
    async with open_alone(settings, spaces) as catalog:
        assert await catalog.page(after="", limit=100, vectors=False) == before
        assert (await catalog.status()).sequence == sequence
        assert (await catalog.picture("bag", "0")).content == b"bag"
        assert (await catalog.user("u")).attributes == {"n": 1}
        [stored] = await catalog.interactions(after=0, limit=9)
        assert stored.interaction == Interaction("u", "bag", "buy", 1.0, time)
        result = await catalog.search("own", np.array([3, 1], np.float32), 3)
        assert [one.item_id for one in result.neighbours] == ["2", "4", "1"]
        assert result.sequence == sequence


async def test_no_sequence_is_given_twice_even_when_the_last_change_was_a_deletion(tmp_path: Path) -> None:
    given = []
    for _ in range(3):
        async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
            [receipt] = await put(catalog, [writable("a")])
            assert isinstance(receipt, Receipt)
            given += [receipt.sequence, await delete(catalog, "a")]
    assert given == sorted(set(given))


async def test_a_content_is_kept_once_and_until_nothing_shows_it(catalog: SqliteCatalog, tmp_path: Path) -> None:
    shared = new_picture("0", b"shared")
    await put(catalog, [writable("a", pictures=[shared, new_picture("1", b"own")]), writable("b", pictures=[shared])])
    assert len(contents_in(tmp_path)) == 2
    collect(tmp_path)
    assert len(contents_in(tmp_path)) == 2
    await put(catalog, [writable("a")])
    collect(tmp_path)
    assert [path.read_bytes() for path in contents_in(tmp_path)] == [b"shared"]
    await delete(catalog, "b")
    collect(tmp_path)
    assert contents_in(tmp_path) == []


async def test_a_content_that_goes_and_comes_back_stays(catalog: SqliteCatalog, tmp_path: Path) -> None:
    picture = new_picture("0", b"moving")
    await put(catalog, [writable("a", pictures=[picture])])
    await asyncio.gather(delete(catalog, "a"), put(catalog, [writable("b", pictures=[picture])]))
    collect(tmp_path)
    assert (await catalog.picture("b", "")).content == b"moving"


async def test_a_content_that_is_gone_from_the_disk_is_an_error(
    catalog: SqliteCatalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put(catalog, [writable("a", pictures=[new_picture("0", b"one")])])
    [path] = contents_in(tmp_path)
    path.unlink()
    with pytest.raises(StoreUnavailable, match="put the item again"):
        await catalog.picture("a", "")
    assert "gone from the disk" in caplog.text


async def test_what_was_kept_stays_when_contents_are_no_longer_kept(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
        await put(catalog, [writable("early", pictures=[new_picture("0", b"early")])])
    async with open_alone(StoreSettings(path=tmp_path, pictures="none"), {}) as catalog:
        await put(catalog, [writable("late", pictures=[new_picture("0", b"late")])])
        assert (await catalog.picture("early", "")).content == b"early"
        with pytest.raises(PictureNotStored, match="none"):
            await catalog.picture("late", "")


async def test_an_item_that_sqlite_refuses_fails_alone_and_leaves_no_trace(
    catalog: SqliteCatalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put(catalog, [vectored("odd", unit(1, 0, 0))])
    picture = new_picture("0", b"odd")
    object.__setattr__(picture.picture, "width", 2**70)  # no column holds that
    results = await put(
        catalog,
        [
            writable("first"),
            writable("odd", vectored("", unit(0, 1, 0)).vectors, [picture]),
            vectored("last", unit(0, 0, 1)),
        ],
    )
    assert [type(result) for result in results] == [Receipt, StoreUnavailable, Receipt]
    assert "Entry of 'odd' could not be written" in caplog.text
    [neighbour] = (await catalog.search("visual", unit(1, 0, 0), 1)).neighbours
    assert (neighbour.item_id, neighbour.distance) == ("odd", 0)
    [item] = await catalog.get(["odd"], vectors=False)
    assert item is not None
    assert item.pictures == ()
    collect(tmp_path)
    assert contents_in(tmp_path) == []


async def test_a_full_disk_fails_the_write_and_the_next_succeeds_once_there_is_room(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    await put(catalog, [vectored("before", unit(1, 0, 0))])
    # The one place that can make SQLite find its disk full at will is the writer's own connection.
    connection = catalog._connection.sqlite
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = [writable(f"large {n}", pictures=[new_picture("0", b"%d" % n)], title="x" * 8000) for n in range(20)]
    results = await put(catalog, large)
    assert {type(result) for result in results} == {DiskFull}
    assert [item.id for item in await catalog.page(after="", limit=9, vectors=False)] == ["before"]
    connection.execute("PRAGMA max_page_count = 1000000")
    assert {type(result) for result in await put(catalog, large)} == {Receipt}
    assert (await catalog.status()).items == 21


async def test_contents_of_a_commit_that_failed_are_collected_after_the_next(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    connection = catalog._connection.sqlite
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    [result] = await put(catalog, [writable("a", pictures=[new_picture("0", b"a")], title="x" * 200_000)])
    assert isinstance(result, DiskFull)
    connection.execute("PRAGMA max_page_count = 1000000")
    await put(catalog, [writable("b")])
    collect(tmp_path)
    assert contents_in(tmp_path) == []


async def test_a_cancelled_caller_does_not_disturb_the_others(catalog: SqliteCatalog) -> None:
    puts = [asyncio.create_task(put(catalog, [writable(str(number))])) for number in range(10)]
    await asyncio.sleep(0)
    puts[4].cancel()
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert isinstance(results[4], asyncio.CancelledError)
    assert sum(isinstance(result, list) for result in results) == 9
    [late] = await put(catalog, [writable("late")])
    assert isinstance(late, Receipt)


async def test_what_was_called_before_the_end_is_committed(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
        puts = [asyncio.create_task(put(catalog, [writable(str(number))])) for number in range(50)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*puts)
    assert all(isinstance(result, Receipt) for [result] in results)
    async with open_alone(StoreSettings(path=tmp_path), {}) as again:
        assert (await again.status()).items == 50


async def test_a_closed_catalogue_says_so(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await put(catalog, [writable("a")])
    with pytest.raises(StoreUnavailable, match="closed"):
        await catalog.status()


async def test_a_caller_may_reuse_its_array_after_the_call(catalog: SqliteCatalog) -> None:
    values = unit(1, 0, 0)
    writing = asyncio.create_task(put(catalog, [vectored("a", values)]))
    await asyncio.sleep(0)
    values[:] = 0
    await writing
    np.testing.assert_array_equal(await catalog.vector_of("a", "visual"), unit(1, 0, 0))


async def test_a_defect_in_the_writer_fails_the_writes_at_hand_and_no_more(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await put(catalog, [vectored("a", unit(1, 0, 0))])

    def fail(*args: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Changes, "finish", fail)
        [result] = await put(catalog, [vectored("b", unit(0, 1, 0))])
    assert isinstance(result, StoreUnavailable)
    assert "nothing was written" in result.message
    assert "MemoryError" in caplog.text
    assert [one.item_id for one in (await catalog.search("visual", unit(1, 0, 0), 2)).neighbours] == ["a"]
    [result] = await put(catalog, [vectored("b", unit(0, 1, 0))])
    assert isinstance(result, Receipt)


async def test_an_end_that_is_cancelled_twice_still_commits_and_frees_the_folder(tmp_path: Path) -> None:
    ready = asyncio.Event()

    async def serve() -> None:
        async with open_alone(StoreSettings(path=tmp_path), {}) as catalog:
            await put(catalog, [writable("a")])
            ready.set()
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await ready.wait()
    serving.cancel()
    await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    async with open_alone(StoreSettings(path=tmp_path), {}) as again:
        assert (await again.status()).items == 1


async def test_a_feed_that_grows_leaves_no_file_behind_whatever_ends_its_process(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    async with catalog.feed() as feed:
        await feed.stage([vectored(str(number), unit(1, number, 0)) for number in range(1000)])
        assert list((tmp_path / "feeds").iterdir()) == []
        assert (await feed.commit()).created == 1000


async def test_a_feed_whose_disk_failed_cannot_be_committed(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(catalog, [writable("a")])

    def fail(*args: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with catalog.feed() as feed:
        with monkeypatch.context() as patched:
            patched.setattr(Staging, "add", fail)
            with pytest.raises(StoreUnavailable, match="I/O"):
                await feed.stage([writable("b")])
        with pytest.raises(FailedPrecondition, match="begin another"):
            await feed.commit()
    assert (await catalog.status()).items == 1


async def test_other_writes_go_on_while_a_feed_is_gathered_and_committed(catalog: SqliteCatalog) -> None:
    async with catalog.feed() as feed:
        await feed.stage([writable(f"feed {number}") for number in range(500)])
        puts = asyncio.gather(*(put(catalog, [writable(f"other {number}")]) for number in range(100)))
        summary = await feed.commit()
        results = await puts
    assert all(isinstance(result, Receipt) for [result] in results)
    status = await catalog.status()
    assert status.items == 500 + sum(result.sequence > summary.sequence for [result] in results)  # type: ignore[union-attr]


async def test_answers_are_held_back_while_too_many_vectors_stand_outside_the_index(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path, slow_at=10), {}, [VISUAL]) as catalog:
        assert (await catalog.write([vectored(str(n), unit(1, n, 0)) for n in range(10)])).slowed_s == 0
        await catalog.write([vectored(str(n), unit(1, n, 0)) for n in range(10, 12)])
        await catalog.search("visual", unit(1, 0, 0), 1)
        slowed = await catalog.write([vectored(str(n), unit(1, n, 0)) for n in range(10)])
        assert 0 < slowed.slowed_s <= 1
        assert all(isinstance(outcome, Receipt) for outcome in slowed.outcomes)
        assert (await catalog.write([ItemUpdate("1", changed_attributes={"price": 1})])).slowed_s == 0


async def test_vectors_are_refused_while_far_too_many_stand_outside_the_index(tmp_path: Path) -> None:
    async with open_alone(StoreSettings(path=tmp_path, slow_at=1), {}, [VISUAL]) as catalog:
        assert len(await put(catalog, [vectored(str(n), unit(1, n, 0)) for n in range(12)])) == 12
        await catalog.search("visual", unit(1, 0, 0), 1)
        changes = [vectored("new", unit(1, 0, 0)), ItemUpdate("1", changed_attributes={"price": 1})]
        refused, updated = (await catalog.write(changes)).outcomes
        assert isinstance(refused, IndexBehind)
        assert isinstance(updated, Receipt)
        assert (await catalog.status()).items == 12


async def test_the_copy_of_a_large_picture_is_described_as_it_is(tmp_path: Path) -> None:
    target = io.BytesIO()
    Image.new("RGB", (800, 400), (200, 20, 20)).save(target, "PNG")
    new = new_picture("0", target.getvalue())
    small = new_picture("1", png())
    async with open_alone(StoreSettings(path=tmp_path, pictures="model"), {}) as catalog:
        await put(catalog, [writable("shoe", pictures=[new, small])])
        stored = await catalog.picture("shoe", "0")
        assert (stored.picture.media_type, stored.picture.width, stored.picture.height) == ("image/jpeg", 512, 256)
        assert stored.picture.size_bytes == len(stored.content)
        assert stored.picture.sha256 == new.picture.sha256
        [item] = await catalog.get(["shoe"], vectors=False)
        assert item is not None
        assert item.pictures[0] == replace(new.picture, stored=True)
        assert (await catalog.picture("shoe", "1")).content == small.content
        [bad] = await put(catalog, [writable("bad", pictures=[new_picture("0", b"no picture")])])
        assert isinstance(bad, BadPicture)
        assert await catalog.get(["bad"], vectors=False) == [None]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (writable("\ud800"), "id"),
        (ItemUpdate("a", title="\ud800"), "title"),
        (ItemUpdate("a", changed_attributes={"size": float("nan")}), "attributes['size']"),
        (ItemDeletion("\ud800"), "id"),
        (WritableUser("u", {}, [ItemVector("visual", "", unit(1, 0, 0))] * 2), "vectors[1].space"),
        (Interaction("u", "a", "like", float("inf"), datetime.datetime.now(datetime.UTC)), "weight"),
        (Interaction("u", "a", "like", 1.0, datetime.datetime(2026, 1, 2)), "time"),
        (Interaction("u", "a", "\ud800", 1.0, datetime.datetime.now(datetime.UTC)), "kind"),
    ],
)
async def test_a_change_that_cannot_be_stored_names_its_field(
    catalog: SqliteCatalog, change: Change, field: str
) -> None:
    [error] = (await catalog.write([change])).outcomes
    assert isinstance(error, InvalidRequest)
    assert error.field == field
    assert (await catalog.status()).sequence == 0


async def test_answers_are_searched_for_again_exactly_and_the_status_tells_the_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_sighted(view: View, queries: Sequence[Query]) -> list[SearchResult]:
        exact = [scan(view, query) for query in queries]
        return [one._replace(neighbours=[*one.neighbours[:1], *one.neighbours[3:]], exact=False) for one in exact]

    monkeypatch.setattr("twinset_server.catalog.asked.search_each_briefly", short_sighted)
    with hold(tmp_path) as folder:
        declare_spaces(folder, [VISUAL])
        async with open_catalog(folder, StoreSettings(path=tmp_path), check_share=1.0) as catalog:
            await put(catalog, [vectored(str(place), unit(1, place, 0)) for place in range(4)])
            assert [space.recall for space in (await catalog.status()).spaces] == [None]
            await catalog.search("visual", unit(1, 0, 0), 3)
            while (recall := (await catalog.status()).spaces[0].recall) is None:
                await asyncio.sleep(0.001)
    assert (recall.recall_at_10, recall.searches) == (pytest.approx(1 / 3), 1)


async def test_a_feed_without_a_place_to_gather_says_so(catalog: SqliteCatalog, tmp_path: Path) -> None:
    (tmp_path / "feeds").rmdir()
    with pytest.raises(StoreUnavailable, match="the catalogue's disk failed"):
        async with catalog.feed():
            pass
    (tmp_path / "feeds").mkdir()
    async with catalog.feed() as feed:
        assert await feed.stage([]) == []
