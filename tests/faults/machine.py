"""Every write, fold, restart and loss of a generation, in any order, against `Model`: a hypothesis state machine."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import hashlib
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes import filters
from fakes.items import new_picture
from faults.model import Model, differences, vector_differences, vectors_of
from twinset.contract import Metric
from twinset_server.domain import (
    Change,
    Expression,
    FacetRequest,
    Float32Array,
    Interaction,
    ItemDeletion,
    ItemUpdate,
    ItemVector,
    Receipt,
    Space,
    WritableItem,
    WritableUser,
)
from twinset_server.errors import RequestIdReused, TwinsetError, UserNotFound
from twinset_server.ports import Catalog

VISUAL = Space("visual", 4, Metric.COSINE, "a" * 64, "net-aaaaaaaa")
SHAPE = Space("shape", 3, Metric.EUCLIDEAN, "b" * 64)
SPACES = {space.name: space for space in (SHAPE, VISUAL)}

T = TypeVar("T")


class System(Protocol):
    """A catalogue with what happens around it."""

    catalog: Catalog

    async def open(self) -> None:
        """Make it, with `SPACES`."""

    async def fold(self) -> None:
        """Bring what was committed into the index."""

    async def restart(self) -> None:
        """End and begin again."""

    async def lose_generation(self) -> None:
        """Damage the newest generation of each space while nothing runs, and begin again."""

    async def close(self) -> None:
        """End."""


def _vector(space: str, number: int) -> Float32Array:
    values = np.random.default_rng([number, len(space)]).standard_normal(SPACES[space].dimension).astype(np.float32)
    if SPACES[space].metric is Metric.COSINE:
        values /= np.float32(np.linalg.norm(values))
    return values


IDS = st.sampled_from(["a", "b", "c", "é", "\ufb01", "\U0001f45f", "shoe 1", "shoe 10"])
NUMBERS = st.integers(0, 40)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["price", "stock", "colour"]),
    st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.booleans(), st.sampled_from(["red", ""]), st.just(("a", "b"))),
    max_size=3,
)
TEXTS = st.sampled_from(["", "x", "é"])
FIELDS = ("category", "attributes.price", "attributes.stock", "attributes.colour", "attributes.size", "attributes.none")
OPERANDS = st.one_of(
    st.integers(-5, 9), st.floats(-1, 1), st.booleans(), st.sampled_from(["red", "", "x", "a", ("a", "b")])
)


@st.composite
def parts(draw: st.DrawFn) -> dict[str, Any]:
    """Pictures with the vectors made from them, and perhaps vectors that the caller brings."""
    pictures = draw(st.lists(st.integers(0, 12), max_size=3))
    vectors = [ItemVector("visual", str(place), _vector("visual", number)) for place, number in enumerate(pictures)]
    if draw(st.booleans()):
        vectors.append(ItemVector("shape", "", _vector("shape", draw(NUMBERS))))
    if draw(st.booleans()):
        vectors.append(ItemVector("visual", "", _vector("visual", draw(NUMBERS))))
    contents = [new_picture(str(place), b"picture %d" % number) for place, number in enumerate(pictures)]
    return {"pictures": contents, "vectors": vectors}


@st.composite
def items(draw: st.DrawFn) -> WritableItem:
    made = WritableItem(draw(IDS), draw(TEXTS), draw(TEXTS), draw(TEXTS), draw(ATTRIBUTES), **draw(parts()))
    text = repr((made.title, made.uri, made.category, made.attributes, [p.picture for p in made.pictures]))
    digest = hashlib.sha256((text + repr(vectors_of(made.vectors))).encode()).digest()
    return WritableItem(
        made.id, made.title, made.uri, made.category, made.attributes, made.pictures, made.vectors, digest=digest
    )


@st.composite
def updates(draw: st.DrawFn) -> ItemUpdate:
    optional = st.none() | TEXTS
    inner = draw(
        st.one_of(st.just({}), parts(), st.builds(lambda n: {"vectors": [ItemVector("shape", "", n)]}, SHAPES))
    )
    return ItemUpdate(
        draw(IDS),
        title=draw(optional),
        uri=draw(optional),
        category=draw(optional),
        attributes=draw(st.none() | ATTRIBUTES),
        changed_attributes=draw(st.dictionaries(st.sampled_from(["price", "size"]), st.none() | st.integers(0, 9))),
        **inner,
    )


SHAPES = st.builds(lambda number: _vector("shape", number), NUMBERS)
USERS = st.builds(
    lambda name, attributes, shapes: WritableUser(name, attributes, [ItemVector("shape", "", one) for one in shapes]),
    st.sampled_from(["u", "v"]),
    ATTRIBUTES,
    st.lists(SHAPES, max_size=1),
)
INTERACTIONS = st.builds(
    lambda user, item, kind, weight, second: Interaction(
        user, item, kind, weight, datetime.datetime.fromtimestamp(second, datetime.UTC)
    ),
    st.sampled_from(["u", "nobody"]),
    IDS,
    st.sampled_from(["like", "view"]),
    st.floats(-2, 2),
    st.integers(0, 10**9),
)
CHANGES = st.one_of(items(), items(), updates(), st.builds(ItemDeletion, IDS), USERS, INTERACTIONS)


class CatalogMachine(RuleBasedStateMachine):
    """Drives a `System`; a subclass says which."""

    system_type: ClassVar[type[System]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.system = self.system_type()
        self.model = Model(SPACES)
        self.requests: dict[str, tuple[Sequence[Change], Sequence[Any]]] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @property
    def catalog(self) -> Catalog:
        return self.system.catalog

    @initialize()
    def begin(self) -> None:
        self.do(self.system.open())

    def teardown(self) -> None:
        self.do(self.system.close())
        self.loop.close()

    def made(self, changes: Sequence[Change], outcomes: Sequence[Receipt | TwinsetError]) -> None:
        """Compare what became of each change with what had to."""
        assert len(outcomes) == len(changes)
        for change, outcome in zip(changes, outcomes, strict=True):
            refusal = self.model.refusal(change)
            if refusal is None:
                assert isinstance(outcome, Receipt), f"{change}: {outcome}"
                self.model.make(change, outcome)
            else:
                assert isinstance(outcome, refusal), f"{change}: {outcome}, not {refusal.__name__}"

    # Writes

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=4))
    def write(self, changes: list[Change]) -> None:
        self.made(changes, self.do(self.catalog.write(changes)).outcomes)

    @rule(first=CHANGES, second=CHANGES)
    def write_twice_at_once(self, first: Change, second: Change) -> None:
        async def both() -> list[Any]:
            return await asyncio.gather(self.catalog.write([first]), self.catalog.write([second]))

        written = self.do(both())
        self.made([first, second], [*written[0].outcomes, *written[1].outcomes])

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), change=st.one_of(items(), updates(), st.builds(ItemDeletion, IDS)), stale=st.booleans())
    def write_with_an_etag(self, data: st.DataObject, change: Any, stale: bool) -> None:
        stored = data.draw(st.sampled_from(sorted(self.model.items)))
        etag = "another" if stale else self.model.items[stored].etag
        change = dataclasses.replace(change, id=stored, etag=etag)
        self.made([change], self.do(self.catalog.write([change])).outcomes)

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=3), name=st.sampled_from(["r1", "r2", "r3"]))
    def write_with_a_request_id(self, changes: list[Change], name: str) -> None:
        if name in self.requests:
            return
        outcomes = self.do(self.catalog.write(changes, request_id=name)).outcomes
        self.made(changes, outcomes)
        self.requests[name] = (changes, outcomes)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def repeat_a_request(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.requests)))
        changes, before = self.requests[name]
        outcomes = self.do(self.catalog.write(changes, request_id=name)).outcomes
        # Only what failed is tried again.
        again = [place for place, outcome in enumerate(before) if not isinstance(outcome, Receipt)]
        for place, outcome in enumerate(outcomes):
            if place not in again:
                assert outcome == before[place]
        self.made([changes[place] for place in again], [outcomes[place] for place in again])
        self.requests[name] = (changes, outcomes)

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), change=INTERACTIONS)
    def use_a_request_id_again_for_something_else(self, data: st.DataObject, change: Change) -> None:
        name = data.draw(st.sampled_from(sorted(self.requests)))
        with pytest.raises(RequestIdReused):
            self.do(self.catalog.write([*self.requests[name][0], change], request_id=name))

    @rule(staged=st.lists(items(), max_size=5, unique_by=lambda item: item.id), commit=st.booleans())
    def feed(self, staged: list[WritableItem], commit: bool) -> None:
        self.do(self._feed(staged, commit))

    async def _feed(self, staged: list[WritableItem], commit: bool) -> None:
        async with self.catalog.feed() as feed:
            same = await feed.unchanged({item.id: item.digest for item in staged})
            expected = {
                item.id
                for item in staged
                if item.id in self.model.items and self.model.items[item.id].digest == item.digest
            }
            assert same == expected
            anew = [item for item in staged if item.id not in same]
            assert await feed.stage(anew) == [None] * len(anew)
            if not commit:
                return
            summary = await feed.commit()
        before = set(self.model.items)
        assert (summary.created, summary.replaced, summary.unchanged, summary.deleted) == (
            len([item for item in anew if item.id not in before]),
            len([item for item in anew if item.id in before]),
            len(same),
            len(before - {item.id for item in staged}),
        )
        # Each item's etag is the catalogue's to choose.
        found = await self.catalog.get([item.id for item in staged], vectors=False)
        etags = {item.id: item.etag for item in found if item is not None}
        assert all(etags[name] == self.model.items[name].etag for name in same)
        self.model.items = {item.id: dataclasses.replace(item, etag=etags[item.id]) for item in staged}
        if anew or before - {item.id for item in staged}:
            assert summary.sequence > self.model.sequence
        self.model.sequence = max(self.model.sequence, summary.sequence)

    # What happens around it

    @rule()
    def fold(self) -> None:
        self.do(self.system.fold())

    @rule()
    def restart(self) -> None:
        self.do(self.system.restart())

    @rule()
    def lose_generation(self) -> None:
        self.do(self.system.lose_generation())

    # Reads

    @rule(
        space=st.sampled_from(sorted(SPACES)),
        number=NUMBERS,
        k=st.integers(1, 12),
        exclude=st.frozensets(IDS, max_size=3),
        expression=st.none() | filters.expressions_over(FIELDS, OPERANDS),
    )
    def search(self, space: str, number: int, k: int, exclude: frozenset[str], expression: Expression | None) -> None:
        query = _vector(space, number)
        requests = [FacetRequest(name, 50) for name in FIELDS]
        result = self.do(self.catalog.search(space, query, k, exclude=exclude, expression=expression, facets=requests))
        found = [(one.item_id, one.distance) for one in result.neighbours]
        expected = self.model.search(space, query, k, exclude, expression)
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert [distance for _, distance in found] == pytest.approx([distance for _, distance in expected], abs=1e-6)
        assert result.sequence >= self.model.sequence
        matching = [filters.fields_of(item) for item in self.model.matching(expression)]
        assert result.matching == len(matching)
        counted = filters.facets(requests, matching)
        assert [filters.unordered(one) for one in result.facets] == [filters.unordered(one) for one in counted]

    @rule()
    def read_all(self) -> None:
        stored = self.do(self.catalog.page(after="", limit=1000, vectors=True))
        expected = sorted(self.model.items.values(), key=lambda item: item.id.encode())
        assert [item.id for item in stored] == [item.id for item in expected]
        for ours, theirs in zip(stored, expected, strict=True):
            assert differences(ours, theirs) == []
        for item in expected:
            for new in item.pictures:
                content = self.do(self.catalog.picture(item.id, new.picture.id)).content
                assert content == new.content

    @rule(user=st.sampled_from(["u", "v"]))
    def read_user(self, user: str) -> None:
        if user not in self.model.users:
            with pytest.raises(UserNotFound):
                self.do(self.catalog.user(user))
            return
        stored, expected = self.do(self.catalog.user(user)), self.model.users[user]
        assert (stored.attributes, stored.etag) == (dict(expected.attributes), expected.etag)
        assert vector_differences(stored.vectors, expected.vectors) == []

    @rule()
    def read_interactions(self) -> None:
        stored = self.do(self.catalog.interactions(after=0, limit=10_000))
        assert [(one.sequence, one.interaction) for one in stored] == self.model.interactions

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self.system, "catalog"):
            return
        status = self.do(self.catalog.status())
        vectors = {one.space.name: one.vectors for one in status.spaces}
        counts = (status.items, status.pictures, status.users, status.interactions, vectors)
        assert counts == self.model.counts()
        assert status.sequence == self.model.sequence
