"""What every embedder does, whatever it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from fakes.embedder import FakeClassifier, FakeEmbedder
from fakes.ensembles import publish_tiny_pair
from fakes.models import SIDE, some_pictures, write_tiny_model
from twinset.known_answer import known_categories, known_input
from twinset_exporter.repository import Repository
from twinset_server.config import TritonSettings
from twinset_server.errors import DeadlineExceeded
from twinset_server.ports import Embedder
from twinset_server.triton import open_embedder

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH = ["features", "embedding"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fake", "triton-unary", "triton-stream"])
async def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedder]:
    if request.param == "fake":
        yield FakeEmbedder(SIDE, SIDE)
        return
    repository = tmp_path_factory.mktemp("repository")
    write_tiny_model(repository)
    settings = TritonSettings(
        model_repository=repository, transport=request.param.removeprefix("triton-"), max_batch=4, max_in_flight=2
    )
    async with open_embedder(settings) as triton:
        yield triton


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fake", "triton-unary", "triton-stream"])
async def with_categories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Embedder]:
    """One whose outputs `source` and `target` take a category of two."""
    if request.param == "fake":
        yield FakeClassifier()
        return
    published = publish_tiny_pair(Repository(tmp_path_factory.mktemp("repository")))
    settings = TritonSettings(
        model_repository=published.path.parent,
        transport=request.param.removeprefix("triton-"),
        max_batch=4,
        max_in_flight=2,
    )
    async with open_embedder(settings) as triton:
        yield triton


async def test_each_space_has_its_output(embedder: Embedder) -> None:
    visual = embedder.contract.space("visual")
    assert visual is not None
    assert embedder.outputs[visual.output] == visual.dimension


async def test_the_known_answer_of_the_contract_comes_out(embedder: Embedder) -> None:
    known = embedder.contract.known_answer
    pictures = known_input(known.seed, known.count, SIDE, SIDE)
    assert known.mismatch(await embedder.embed(pictures, list(known.values), timeout_s=10)) is None


@pytest.mark.parametrize("count", [1, 4, 5, 23])
async def test_embed_returns_a_float32_row_for_each_picture(embedder: Embedder, count: int) -> None:
    rows = await embedder.embed(some_pictures(count), BOTH, timeout_s=10)
    assert {name: (values.shape, values.dtype) for name, values in rows.items()} == {
        name: ((count, embedder.outputs[name]), np.float32) for name in BOTH
    }
    assert np.isfinite(rows["features"]).all()


async def test_rows_of_a_cosine_space_have_unit_length(embedder: Embedder) -> None:
    rows = await embedder.embed(some_pictures(9), ["embedding"], timeout_s=10)
    np.testing.assert_allclose(np.linalg.norm(rows["embedding"], axis=1), 1, atol=1e-3)


async def test_rows_come_in_the_order_of_the_pictures(embedder: Embedder) -> None:
    pictures = some_pictures(11)
    together = await embedder.embed(pictures, ["features"], timeout_s=10)
    alone = [await embedder.embed(pictures[i : i + 1], ["features"], timeout_s=10) for i in range(len(pictures))]
    np.testing.assert_allclose(together["features"], np.concatenate([row["features"] for row in alone]), atol=1e-5)


async def test_other_pictures_have_other_rows(embedder: Embedder) -> None:
    rows = await embedder.embed(np.stack([some_pictures(1)[0], 255 - some_pictures(1)[0]]), BOTH, timeout_s=10)
    assert np.abs(rows["embedding"][0] - rows["embedding"][1]).max() > 0.01


@pytest.mark.parametrize("outputs", [["features"], ["embedding"], ["embedding", "features"]])
async def test_only_the_outputs_asked_for_come(embedder: Embedder, outputs: list[str]) -> None:
    assert list(await embedder.embed(some_pictures(2), outputs, timeout_s=10)) == outputs


async def test_pictures_that_do_not_lie_in_one_piece_are_read_right(embedder: Embedder) -> None:
    pictures = some_pictures(10)
    rows = await embedder.embed(pictures[::-2, :, ::-1], ["features"], timeout_s=10)
    expected = await embedder.embed(np.ascontiguousarray(pictures[::-2, :, ::-1]), ["features"], timeout_s=10)
    np.testing.assert_allclose(rows["features"], expected["features"], atol=1e-6)


async def test_calls_side_by_side_each_get_their_own_rows(embedder: Embedder) -> None:
    pictures = some_pictures(30)
    expected = (await embedder.embed(pictures, ["features"], timeout_s=10))["features"]
    spans = [(start, start + 1 + start % 7) for start in range(24)]
    answers = await asyncio.gather(
        *(embedder.embed(pictures[start:stop], ["features"], timeout_s=10) for start, stop in spans)
    )
    for (start, stop), rows in zip(spans, answers, strict=True):
        np.testing.assert_allclose(rows["features"], expected[start:stop], atol=1e-5)


async def test_rows_may_be_written_to(embedder: Embedder) -> None:
    rows = await embedder.embed(some_pictures(1), ["features"], timeout_s=10)
    assert rows["features"].flags.writeable


async def test_embed_without_time_left_is_deadline_exceeded(embedder: Embedder) -> None:
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(some_pictures(1), ["features"], timeout_s=0)


async def test_a_cancelled_call_does_no_harm_to_others(embedder: Embedder) -> None:
    pictures = some_pictures(20)
    cancelled = [asyncio.create_task(embedder.embed(pictures, BOTH, timeout_s=10)) for _ in range(5)]
    kept = asyncio.create_task(embedder.embed(pictures, ["features"], timeout_s=10))
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    again = await embedder.embed(pictures, ["features"], timeout_s=10)
    np.testing.assert_allclose((await kept)["features"], again["features"], atol=1e-5)


@pytest.mark.parametrize(
    "pictures",
    [some_pictures(2).astype(np.float32), some_pictures(2)[:, 1:], some_pictures(2)[0], some_pictures(0)],
    ids=["float", "too low", "no batch", "empty"],
)
async def test_pictures_of_another_shape_are_a_value_error(embedder: Embedder, pictures: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pictures"):
        await embedder.embed(pictures, ["features"], timeout_s=10)


async def test_the_known_answer_of_unknown_and_known_categories_comes_out(with_categories: Embedder) -> None:
    contract = with_categories.contract
    known = contract.known_answer
    categories = known_categories(known.count, contract.categories)[:, 0]
    pictures = known_input(known.seed, known.count, SIDE, SIDE)
    answer = await with_categories.embed(pictures, list(known.values), timeout_s=10, categories=categories)
    assert known.mismatch(answer) is None


async def test_each_picture_gets_the_row_of_its_own_category(with_categories: Embedder) -> None:
    pictures = np.repeat(some_pictures(1), 11, axis=0)
    categories = (np.arange(11) % 3).astype(np.int32)
    rows = (await with_categories.embed(pictures, ["source"], timeout_s=10, categories=categories))["source"]
    for category in range(3):
        of_it = rows[categories == category]
        np.testing.assert_allclose(of_it, np.broadcast_to(of_it[0], of_it.shape), atol=1e-5)
    assert min(np.abs(rows[0] - rows[1]).max(), np.abs(rows[0] - rows[2]).max(), np.abs(rows[1] - rows[2]).max()) > 0.01


async def test_without_categories_all_are_unknown(with_categories: Embedder) -> None:
    pictures = some_pictures(5)
    given = await with_categories.embed(pictures, ["target"], timeout_s=10)
    unknown = await with_categories.embed(pictures, ["target"], timeout_s=10, categories=np.zeros(5, np.int32))
    np.testing.assert_array_equal(given["target"], unknown["target"])


async def test_outputs_that_take_no_category_are_the_same_whatever_it_is(with_categories: Embedder) -> None:
    pictures = some_pictures(3)
    for outputs in (["embedding"], ["features", "embedding"], ["embedding", "source"]):
        known = await with_categories.embed(pictures, outputs, timeout_s=10, categories=np.array([1, 2, 1], np.int32))
        unknown = await with_categories.embed(pictures, outputs, timeout_s=10)
        np.testing.assert_allclose(known["embedding"], unknown["embedding"], atol=1e-6)


async def test_categories_to_a_model_that_takes_none_change_nothing(embedder: Embedder) -> None:
    pictures = some_pictures(2)
    given = await embedder.embed(pictures, ["features"], timeout_s=10, categories=np.array([7, 1], np.int32))
    expected = await embedder.embed(pictures, ["features"], timeout_s=10)
    np.testing.assert_allclose(given["features"], expected["features"], atol=1e-6)


@pytest.mark.parametrize(
    "categories",
    [
        np.array([0, 3], np.int32),
        np.array([-1, 0], np.int32),
        np.array([0], np.int32),
        np.array([0, 1], np.int64),
        np.array([[0], [1]], np.int32),
    ],
    ids=["too high", "negative", "too few", "int64", "a column"],
)
async def test_categories_out_of_range_or_shape_are_a_value_error(
    with_categories: Embedder, categories: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="categories"):
        await with_categories.embed(some_pictures(2), ["source"], timeout_s=10, categories=categories)


async def test_an_unknown_output_is_a_value_error(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        await embedder.embed(some_pictures(1), ["nonsense"], timeout_s=10)
