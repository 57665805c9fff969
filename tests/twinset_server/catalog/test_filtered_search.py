"""Whatever was written and wherever it lies by now, a filtered search answers as Python and numpy do."""

import asyncio
import contextlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fakes import filters
from fakes.items import new_picture
from faults.model import Model
from twinset.contract import Metric
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.index.builder import Builder
from twinset_server.config import StoreSettings
from twinset_server.domain import (
    Attribute,
    Change,
    Compare,
    Dtype,
    Expression,
    FacetRequest,
    Float32Array,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    Operator,
    Receipt,
    SearchMethod,
    Space,
    WritableItem,
)

DIMENSION = 8
SPACES = {
    space.name: space
    for space in (
        Space("visual", DIMENSION, Metric.COSINE, "a" * 64),
        Space("shape", DIMENSION, Metric.EUCLIDEAN, "b" * 64),
        Space("taste", DIMENSION, Metric.INNER_PRODUCT, "c" * 64),
    )
}
ITEMS = 600
FACETS = [FacetRequest(name, 50) for name in filters.NAMES]

# Correlated with the vectors, and not; from most items to one in a hundred.
SHARES = st.one_of(
    st.builds(Compare, st.just("attributes.side"), st.just(Operator.LESS), st.sampled_from([-1.5, -0.5, 0.0, 1.0])),
    st.builds(Compare, st.just("attributes.lot"), st.just(Operator.LESS), st.sampled_from([1, 10, 50, 90])),
)
EXPRESSIONS: st.SearchStrategy[Expression] = SHARES | filters.expressions_over(
    (*filters.NAMES, "attributes.side", "attributes.lot"), filters.values
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 150)),
        st.tuples(st.just("update"), st.integers(1, 150)),
        st.tuples(st.just("delete"), st.integers(1, 60)),
        st.tuples(st.just("fold"), st.just(0)),
        st.tuples(st.just("merge"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("search"), st.lists(EXPRESSIONS, min_size=1, max_size=4)),
    ),
    min_size=3,
    max_size=14,
)


class Shop:
    """A catalogue on disk, and the model of it."""

    def __init__(self, folder: Path, seed: int, dtype: Dtype, seen: Counter[str]) -> None:
        dtypes = dict.fromkeys(SPACES, dtype)
        self.settings = StoreSettings(path=folder, pictures="none", fold_at=30, graph_at=60, dtypes=dtypes)
        self.model = Model(SPACES)
        self.rng = np.random.default_rng(seed)
        self.seen = seen
        self.catalog: SqliteCatalog

    async def live(self, steps: list[tuple[str, Any]]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await self._open(stack)
            for number in range(0, ITEMS, 200):
                await self._write([self._item(n) for n in range(number, number + 200)])
            for step, what in steps:
                match step:
                    case "put":
                        await self._write([self._item(n) for n in self._numbers(what)])
                    case "update":
                        await self._write([self._update(n) for n in self._numbers(what) if str(n) in self.model.items])
                    case "delete":
                        there = [n for n in self._numbers(what) if str(n) in self.model.items]
                        await self._write([ItemDeletion(str(n)) for n in there])
                    case "fold":
                        self._builder().fold_once()
                    case "merge":
                        self._builder().merge_once()
                    case "restart":
                        await stack.aclose()
                        await self._open(stack)
                    case "search":
                        for expression in what:
                            await self._search(expression)

    async def _open(self, stack: contextlib.AsyncExitStack) -> None:
        self.catalog = await stack.enter_async_context(open_alone(self.settings, {}, SPACES.values()))

    def _builder(self) -> Builder:
        folder = Folder(self.settings.path)
        return Builder(folder.database, folder.index, self.settings)

    def _numbers(self, count: int) -> list[int]:
        chosen: list[int] = self.rng.permutation(ITEMS)[:count].tolist()
        return chosen

    async def _write(self, changes: list[Change]) -> None:
        for change, outcome in zip(changes, (await self.catalog.write(changes)).outcomes, strict=True):
            assert isinstance(outcome, Receipt)
            self.model.make(change, outcome)

    def _vectors(self, space: str, count: int) -> Float32Array:
        vectors = self.rng.standard_normal((count, DIMENSION)).astype(np.float32)
        if SPACES[space].metric is Metric.COSINE:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _attributes(self, number: int, side: float) -> dict[str, Attribute]:
        own: dict[str, Attribute] = {"side": side, "lot": number * 7919 % 100}
        for name in ("one", "two"):
            if self.rng.random() < 0.8:
                own[name] = filters.VALUES[self.rng.integers(len(filters.VALUES))]
        return own

    def _item(self, number: int) -> WritableItem:
        pictures = [new_picture(str(place), b"%d" % place) for place in range(self.rng.integers(0, 4))]
        made = [
            ItemVector(space, picture.picture.id, vector)
            for space in SPACES
            for picture, vector in zip(pictures, self._vectors(space, len(pictures)), strict=True)
        ]
        side = float(made[0].values[0]) if made else 0.0
        category = str(self.rng.choice(["", "a", "ab", "b"]))
        return WritableItem(str(number), "", "", category, self._attributes(number, side), pictures, made)

    def _update(self, number: int) -> ItemUpdate:
        name = str(self.rng.choice(["one", "two"]))
        value = filters.VALUES[self.rng.integers(len(filters.VALUES))] if self.rng.random() < 0.7 else None
        return ItemUpdate(str(number), changed_attributes={name: value})

    async def _search(self, expression: Expression) -> None:
        space = str(self.rng.choice(list(SPACES)))
        query, k = self._vectors(space, 1)[0], int(self.rng.integers(1, 8))
        exclude = frozenset(str(n) for n in self._numbers(int(self.rng.integers(0, 20))))
        expected = [name for name, _ in self.model.search(space, query, k, exclude, expression)]
        matching = {item.id: filters.fields_of(item) for item in self.model.matching(expression)}
        exact = await self.catalog.search(
            space, query, k, exclude=exclude, target_recall=1.0, expression=expression, facets=FACETS
        )
        assert [one.item_id for one in exact.neighbours] == expected
        assert exact.exact
        assert exact.matching == len(matching)
        counted = filters.facets(FACETS, matching.values())
        assert [filters.unordered(one) for one in exact.facets] == [filters.unordered(one) for one in counted]
        found = await self.catalog.search(space, query, k, exclude=exclude, expression=expression)
        names = [one.item_id for one in found.neighbours]
        assert len(names) == len(set(names)) == len(expected)
        assert set(names) <= matching.keys() - exclude
        if found.plan.method is SearchMethod.WALK:
            self.seen["walked"] += len(expected)
            self.seen["missed"] += len(set(expected) - set(names))
        else:
            self.seen["compared"] += 1
            assert names == expected


def _histories(seen: Counter[str], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # Shrinking replays hundreds of histories; the failing one is printed as it was found.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS, st.integers(0, 2**32 - 1), st.sampled_from(Dtype), st.lists(EXPRESSIONS, min_size=3, max_size=6))
    def history(steps: list[tuple[str, Any]], seed: int, dtype: Dtype, at_last: list[Expression]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder), seed, dtype, seen)
            asyncio.run(shop.live([("fold", 0), *steps, ("search", at_last), ("merge", 0), ("search", at_last)]))

    history()


@pytest.fixture(autouse=True)
def walks(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if to compare a row cost much, which it does where there are a million.
    monkeypatch.setattr("twinset_server.catalog.index.walks._STEP", 0.001)


@pytest.mark.parametrize("examples", [3, pytest.param(150, marks=pytest.mark.slow)])
def test_any_history_is_filtered_as_python_filters_it(examples: int) -> None:
    seen: Counter[str] = Counter()
    _histories(seen, examples)
    assert seen["compared"] > examples
    assert seen["walked"] > 0, "no walk to tell by"
    assert seen["missed"] <= 0.05 * seen["walked"]
