"""Pictures of all callers share batches, and each caller gets what is theirs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from fakes.embedder import FakeEmbedder
from fakes.pictures import BLUE, GREEN, RED, TEXT, png
from twinset_server.domain import Float32Array, Int32Array, UInt8Array
from twinset_server.embedding import PictureEmbedder
from twinset_server.errors import BadPicture, DeadlineExceeded, EmbedderUnavailable, InvalidRequest, TooManyPictures

NAMES = ("embedding",)
WAITING_BYTES = 32 << 20


class Recorder(FakeEmbedder):
    """Remembers the size of every request, and how many were under way together."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.outputs_asked: list[tuple[str, ...]] = []
        self.peak = 0
        self.under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def embed(
        self,
        pictures: UInt8Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        categories: Int32Array | None = None,
    ) -> Mapping[str, Float32Array]:
        self.sizes.append(len(pictures))
        self.outputs_asked.append(tuple(outputs))
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            await self.gate.wait()
            return await super().embed(pictures, outputs, timeout_s=timeout_s, categories=categories)
        finally:
            self.under_way -= 1


@pytest.fixture
def embedder() -> Recorder:
    return Recorder()


async def test_each_picture_gets_its_own_vector(pictures: PictureEmbedder) -> None:
    contents = [png(RED), png(GREEN), png(BLUE), png(RED)] * 5
    together = await pictures.embed(contents, NAMES, timeout_s=5, urgent=False)
    for content, outputs in zip(contents, together, strict=True):
        (alone,) = await pictures.embed([content], NAMES, timeout_s=5, urgent=False)
        np.testing.assert_array_equal(outputs["embedding"], alone["embedding"])


async def test_a_bad_picture_fails_alone(pictures: PictureEmbedder) -> None:
    results = await pictures.embed([png(RED), TEXT, png(BLUE)], NAMES, timeout_s=5, urgent=False)
    assert isinstance(results[1], BadPicture)
    assert not isinstance(results[0], Exception)
    assert not isinstance(results[2], Exception)


async def test_a_lone_picture_waits_for_nobody(pictures: PictureEmbedder, embedder: Recorder) -> None:
    await pictures.embed([png(RED)], NAMES, timeout_s=5, urgent=False)
    assert embedder.sizes == [1]


async def test_what_waits_leaves_in_full_batches_and_no_more_than_allowed_areunder_way(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.delay_s = 0.05
    await asyncio.gather(*(pictures.embed([png(RED)], NAMES, timeout_s=5, urgent=False) for _ in range(16)))
    assert sum(embedder.sizes) == 16
    assert max(embedder.sizes) == 4
    assert embedder.peak == 2


async def test_pictures_that_want_other_outputs_leave_in_other_batches(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.delay_s = 0.02
    wants = [("embedding",), ("features",)] * 6
    results = await asyncio.gather(*(pictures.embed([png(RED)], names, timeout_s=5, urgent=False) for names in wants))
    assert [tuple(outputs) for (outputs,) in results] == wants
    assert set(embedder.outputs_asked) == {("embedding",), ("features",)}


async def test_no_time_left_is_an_error_of_the_picture(pictures: PictureEmbedder, embedder: Recorder) -> None:
    embedder.delay_s = 1
    (result,) = await pictures.embed([png(RED)], NAMES, timeout_s=0.01, urgent=False)
    assert isinstance(result, DeadlineExceeded)


async def test_a_picture_whose_caller_left_is_never_embedded(pictures: PictureEmbedder, embedder: Recorder) -> None:
    embedder.gate.clear()
    first = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=False)) for _ in range(2)]
    while len(embedder.sizes) < 2:  # until both places are taken
        await asyncio.sleep(0.01)
    gone = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=False)) for _ in range(4)]
    await asyncio.sleep(0.05)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    embedder.gate.set()
    await asyncio.gather(*first)
    await pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=False)
    assert sum(embedder.sizes) == 3


async def test_pictures_over_the_bytes_that_may_wait_are_refused_and_later_ones_are_not(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    heavy = png(RED) + bytes(WAITING_BYTES // 4)
    results = await pictures.embed([heavy] * 5, NAMES, timeout_s=5, urgent=False)
    assert sum(isinstance(result, TooManyPictures) for result in results) == 2
    (result,) = await pictures.embed([png(RED)], NAMES, timeout_s=5, urgent=False)
    assert not isinstance(result, Exception)


async def test_an_embedder_that_is_down_is_an_error_of_each_picture_and_recovers(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.down = True
    results = await pictures.embed([png(RED), png(BLUE)], NAMES, timeout_s=5, urgent=False)
    assert all(isinstance(result, EmbedderUnavailable) for result in results)
    embedder.down = False
    (result,) = await pictures.embed([png(RED)], NAMES, timeout_s=5, urgent=False)
    assert not isinstance(result, Exception)


def test_no_outputs_asked_for_means_those_that_fill_a_space() -> None:
    async def choose() -> tuple[str, ...]:
        opened = PictureEmbedder(
            FakeEmbedder(), max_batch=1, max_in_flight=1, max_pictures=1, max_waiting_bytes=1 << 20
        )
        with pytest.raises(InvalidRequest, match="no output 'nose'; it has features, embedding"):
            opened.choose_outputs(["features", "nose"])
        chosen = opened.choose_outputs([])
        opened.close()
        return chosen

    assert asyncio.run(choose()) == ("embedding",)


async def test_an_urgent_picture_goes_ahead_of_those_of_streams(pictures: PictureEmbedder, embedder: Recorder) -> None:
    embedder.gate.clear()
    streams = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=False)) for _ in range(14)]
    while len(embedder.sizes) < 2:  # until both places are taken
        await asyncio.sleep(0.01)
    ended: list[str] = []
    urgent = asyncio.create_task(pictures.embed([png(BLUE)], NAMES, timeout_s=30, urgent=True))
    urgent.add_done_callback(lambda _: ended.append("urgent"))
    streams[-1].add_done_callback(lambda _: ended.append("last of the streams"))
    await until(lambda: waiting(pictures) == 13)
    embedder.gate.set()
    await asyncio.gather(urgent, *streams)
    assert ended == ["urgent", "last of the streams"]


async def test_streams_keep_a_part_of_every_request_beside_urgent_pictures(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.gate.clear()
    first = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=True)) for _ in range(2)]
    while len(embedder.sizes) < 2:
        await asyncio.sleep(0.01)
    urgent = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=30, urgent=True)) for _ in range(12)]
    stream = asyncio.create_task(pictures.embed([png(BLUE)], NAMES, timeout_s=30, urgent=False))
    ended: list[str] = []
    urgent[-1].add_done_callback(lambda _: ended.append("last urgent one"))
    stream.add_done_callback(lambda _: ended.append("stream"))
    await until(lambda: waiting(pictures) == 13)
    embedder.gate.set()
    await asyncio.gather(stream, *first, *urgent)
    assert ended == ["stream", "last urgent one"]


async def test_a_request_whose_callers_are_all_gone_is_taken_back(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.gate.clear()
    calls = [asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=60, urgent=True)) for _ in range(12)]
    await until(lambda: len(embedder.sizes) == 2)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await until(lambda: embedder.under_way == 0)
    embedder.gate.set()
    # The places at the model are free again, and nothing of the twelve is asked for any more.
    asked = sum(embedder.sizes)
    await pictures.embed([png(BLUE)], NAMES, timeout_s=5, urgent=True)
    assert sum(embedder.sizes) == asked + 1


async def test_a_request_goes_on_while_one_caller_waits(pictures: PictureEmbedder, embedder: Recorder) -> None:
    embedder.gate.clear()
    first = asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=60, urgent=True))
    await until(lambda: embedder.sizes == [1])
    second = asyncio.create_task(pictures.embed([png(RED)], NAMES, timeout_s=60, urgent=True))
    await until(lambda: embedder.sizes == [1, 1])
    third = [asyncio.create_task(pictures.embed([png(c)], NAMES, timeout_s=60, urgent=True)) for c in (RED, BLUE)]
    await until(lambda: waiting(pictures) == 2)
    second.cancel()
    await until(lambda: embedder.sizes == [1, 1, 2])
    third[0].cancel()
    embedder.gate.set()
    assert not isinstance((await first)[0], Exception)
    assert not isinstance((await third[1])[0], Exception)


async def test_calls_by_the_hundred_with_hardly_any_time_leave_nothing_behind(
    pictures: PictureEmbedder, embedder: Recorder
) -> None:
    embedder.delay_s = 0.01
    calls = [pictures.embed([png(RED)], NAMES, timeout_s=0.0005 * (n % 40), urgent=n % 2 == 0) for n in range(300)]
    outcomes = await asyncio.gather(*calls)
    assert any(isinstance(one, DeadlineExceeded) for (one,) in outcomes)
    await until(lambda: embedder.under_way == 0)
    assert not pictures.is_full
    embedder.delay_s = 0
    (found,) = await pictures.embed([png(BLUE)], NAMES, timeout_s=5, urgent=True)
    assert not isinstance(found, Exception)


def waiting(pictures: PictureEmbedder) -> int:
    """Return how many decoded pictures wait for a place at the model: no caller can tell that moment from outside."""
    return len(pictures._urgent.waiting) + len(pictures._bulk.waiting)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)
