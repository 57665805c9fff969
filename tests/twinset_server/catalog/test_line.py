import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes.change_log import unit_vectors
from fakes.items import delete, put, unit, vectored
from twinset.contract import Metric
from twinset_server.catalog import SqliteCatalog, open_alone
from twinset_server.catalog.asked import Asked, answer_briefly
from twinset_server.catalog.index.views import Views
from twinset_server.catalog.line import SearchLine
from twinset_server.config import ExternalSpace, StoreSettings
from twinset_server.domain import Search, SearchResult
from twinset_server.errors import BadVector, SpaceNotFound, StoreUnavailable

SPACES = {name: ExternalSpace(dimension=4, metric=metric) for name, metric in zip("abc", Metric, strict=True)}


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), SPACES) as opened:
        rng = np.random.default_rng(1)
        for space in SPACES:
            await put(
                opened, [vectored(f"{space}{n}", row, space=space) for n, row in enumerate(unit_vectors(rng, 40, 4))]
            )
        await opened.state()  # which looks at what was committed
        yield opened


def line_of(catalog: SqliteCatalog) -> SearchLine:
    return SearchLine(lambda: catalog._follower.views, never)


async def never() -> Views:
    raise AssertionError("there is nothing to look for")


async def several(line: SearchLine, count: int = 3) -> None:
    """Let searches come together, so that the next one waits for others."""
    await asyncio.gather(*(line.answered(Search("a", unit(1, 2, 3, 4), 1)) for _ in range(20 * count)))


async def test_searches_that_come_together_find_what_each_does_alone(catalog: SqliteCatalog) -> None:
    rng = np.random.default_rng(2)
    searches = [
        Search("abc"[place % 3], values, 1 + place % 7, frozenset(f"a{n}" for n in range(place % 5)))
        for place, values in enumerate(unit_vectors(rng, 60, 4))
    ]
    state = await catalog.state()
    for _ in range(3):
        found = await asyncio.gather(
            *(catalog.search(one.space, one.query, one.k, exclude=one.exclude) for one in searches)
        )
        assert found == [state.search(one) for one in searches]


async def test_what_was_written_before_a_search_came_is_found_in_company(catalog: SqliteCatalog) -> None:
    async def search(item_id: str, values: np.ndarray) -> bool:
        return [one.item_id for one in (await catalog.search("a", values, 1)).neighbours] == [item_id]

    async def live(number: int) -> list[bool]:
        rng = np.random.default_rng([number, 5])
        seen = []
        for turn in range(10):
            values = unit_vectors(rng, 1, 4)[0]
            await put(catalog, [vectored(f"new {number}", values, space="a")])
            seen.append(await search(f"new {number}", values))
            await delete(catalog, f"new {number}")
            seen.append(not await search(f"new {number}", values))
            await asyncio.sleep(0.001 * (turn % 2))
        return seen

    assert all(all(seen) for seen in await asyncio.gather(*(live(number) for number in range(12))))


async def test_who_is_alone_waits_for_nobody(catalog: SqliteCatalog) -> None:
    line = line_of(catalog)
    for _ in range(12):
        await line.answered(Search("a", unit(1, 2, 3, 4), 1))
    waited = 0
    for _ in range(16):
        search = line.answered(Search("a", unit(1, 2, 3, 4), 1))
        try:
            future = search.send(None)  # where it ends here, it never gave way to the event loop
        except StopIteration:
            continue
        waited += 1
        while not future.done():
            await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            search.send(None)
    assert waited == 2


async def test_a_search_that_fails_fails_alone(catalog: SqliteCatalog) -> None:
    searches = [Search("a", unit(1, 2, 3, 4), 2), Search("a", unit(1, 2), 2), Search("nowhere", unit(1, 2), 2)] * 6
    line = line_of(catalog)
    await several(line)
    found = await asyncio.gather(*(line.answered(one) for one in searches), return_exceptions=True)
    kinds = [type(one) for one in found]
    assert kinds[1::3] + kinds[2::3] == [BadVector] * 6 + [SpaceNotFound] * 6
    assert len({str(one) for one in found[::3]}) == 1
    assert not isinstance(found[0], BaseException)


async def test_a_search_that_breaks_leaves_each_to_be_made_by_itself(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(asked: Sequence[Asked]) -> list[SearchResult]:
        if asked[0].search.k == 3:
            raise MemoryError
        return answer_briefly(asked[:1])

    line = line_of(catalog)
    await several(line)
    monkeypatch.setattr("twinset_server.catalog.line.answer_briefly", breaks)
    found = await asyncio.gather(*(line.answered(Search("a", unit(1, 2, 3, 4), k)) for k in (2, 3, 4)))
    assert [one.result and len(one.result.neighbours) for one in found] == [2, None, 4]
    assert len(found[1].asked.answer().neighbours) == 3


async def test_a_caller_who_is_gone_is_not_searched_for(
    catalog: SqliteCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def recorded(those: Sequence[Asked]) -> list[SearchResult]:
        asked.extend(one.search.k for one in those)
        return answer_briefly(those)

    line = line_of(catalog)
    await several(line)
    monkeypatch.setattr("twinset_server.catalog.line.answer_briefly", recorded)
    tasks = [asyncio.create_task(line.answered(Search("a", unit(1, 2, 3, 4), k))) for k in (1, 2, 3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert asked == [1, 3]


@pytest.mark.parametrize(
    "error", [StoreUnavailable("the catalogue is closed: the server stops"), ZeroDivisionError("a defect")], ids=repr
)
async def test_what_ends_the_look_at_the_log_ends_all_who_wait_for_it(error: Exception) -> None:
    async def gone() -> Views:
        raise error

    line = SearchLine(lambda: None, gone)
    found = await asyncio.gather(
        *(line.answered(Search("a", unit(1, 2, 3, 4), 1)) for _ in range(30)), return_exceptions=True
    )
    assert found == [error] * 30
