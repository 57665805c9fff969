"""Streams answer in order, hold a bounded amount, and let go of everything when they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from twinset_server.errors import ServerStopping
from twinset_server.rpc.streams import check_running, in_order, weight


async def _requests(*values: int) -> AsyncIterator[int]:
    for value in values:
        yield value


async def test_answers_come_in_order_though_work_ends_out_of_order() -> None:
    async def work(value: int) -> int:
        for _ in range(10 - value):
            await asyncio.sleep(0)
        return value * 2

    answers = in_order(_requests(0, 5, 9), work, weigh=lambda _: 1, capacity=3)
    assert [answer async for answer in answers] == [0, 10, 18]


async def test_work_starts_in_the_order_of_the_requests() -> None:
    started: list[int] = []

    async def work(value: int) -> int:
        started.append(value)
        await asyncio.sleep(0)
        return value

    _ = [a async for a in in_order(_requests(*range(50)), work, weigh=lambda _: 1, capacity=8)]
    assert started == list(range(50))


@pytest.mark.parametrize(("weight", "most"), [(1, 4), (2, 2), (3, 1), (9, 1)])
async def test_no_more_than_the_capacity_is_under_way(weight: int, most: int) -> None:
    under_way, peak = 0, 0

    async def work(value: int) -> int:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return value

    answers = [a async for a in in_order(_requests(*range(12)), work, weigh=lambda _: weight, capacity=4)]
    assert answers == list(range(12))
    assert peak == most


def test_large_elements_weigh_more_than_one_each() -> None:
    assert weight(3, 3 * 5_000) == 3
    assert weight(1, 8 << 20) == 32


async def test_a_failing_request_ends_the_stream_after_the_answers_before_it() -> None:
    async def work(value: int) -> int:
        if value == 2:
            raise ValueError("two")
        return value

    got: list[int] = []
    with pytest.raises(ValueError, match="two"):
        async for answer in in_order(_requests(0, 1, 2, 3), work, weigh=lambda _: 1, capacity=4):
            got.append(answer)
    assert got == [0, 1]


async def test_broken_requests_end_the_stream_with_their_error() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    async def work(value: int) -> int:
        return value

    with pytest.raises(ConnectionError, match="gone"):
        _ = [a async for a in in_order(broken(), work, weigh=lambda _: 1, capacity=4)]


async def test_closing_early_cancels_what_is_under_way() -> None:
    cancelled: list[int] = []

    async def work(value: int) -> int:
        if value == 0:
            return 0
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(value)
            raise
        return value

    async with aclosing(in_order(_requests(0, 1, 2), work, weigh=lambda _: 1, capacity=4)) as answers:  # type: ignore[type-var]
        async for _ in answers:
            await asyncio.sleep(0.01)
            break
    await asyncio.sleep(0)
    assert sorted(cancelled) == [1, 2]


async def test_a_stopping_server_answers_what_it_has_read_and_reads_no_more() -> None:
    stopping = asyncio.Event()

    async def endless() -> AsyncIterator[int]:
        for value in range(1000):
            yield value
            if value == 2:
                stopping.set()
                await asyncio.sleep(60)

    async def work(value: int) -> int:
        await asyncio.sleep(0.01)
        return value

    got: list[int] = []
    with pytest.raises(ServerStopping):
        async for answer in in_order(endless(), work, weigh=lambda _: 1, capacity=8, stopping=stopping):
            got.append(answer)
    assert got == [0, 1, 2]


async def test_a_long_answer_ends_once_the_server_stops() -> None:
    stopping = asyncio.Event()
    check_running(stopping)
    stopping.set()
    with pytest.raises(ServerStopping):
        check_running(stopping)
