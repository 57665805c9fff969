"""What a client changes and exports, against the real gRPC server."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator

import numpy as np
import pytest

import twinset
from fakes.pictures import BLUE, RED, TEXT, png
from fakes.proxy import SilentProxy
from fakes.service import FakeService
from twinset import Client, FeedResult, Interaction, Item, ItemUpdate, NotFound, Picture, User, Vector
from twinset.lasting_stream import REFUSALS
from twinset_server.domain import StoredInteraction
from twinset_server.errors import StoreUnavailable

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address, timeout_s=10) as client:
        yield client


def put(client: Client, *items: Item) -> None:
    assert [result.error for result in client.put_items(items)] == [None] * len(items)


def test_an_update_changes_what_it_names_and_nothing_else(client: Client, service: FakeService) -> None:
    put(client, Item("a", (Picture(png(RED)),), "A", "https://x/a", "shoes", {"price": 1.5, "size": "M", "sale": True}))
    before = client.get_item("a")
    embedded = service.embedder.embedded
    (result,) = client.update_items([ItemUpdate("a", title="B", attributes={"price": 2.5, "sale": None})])
    after = client.get_item("a")
    assert (after.title, after.uri, after.category) == ("B", "https://x/a", "shoes")
    assert after.attributes == {"price": 2.5, "size": "M"}
    assert (result.id, result.error, result.etag) == ("a", None, after.etag)
    assert after.etag != before.etag
    assert service.embedder.embedded == embedded
    assert [v.values.tolist() for v in after.vectors] == [v.values.tolist() for v in before.vectors]


def test_an_update_replaces_all_attributes_or_empties_a_field(client: Client) -> None:
    put(client, Item("a", title="A", attributes={"x": 1, "y": 2}))
    (result,) = client.update_items([ItemUpdate("a", title="", all_attributes={"z": 3})])
    assert result.error is None
    after = client.get_item("a")
    assert (after.title, after.attributes) == ("", {"z": 3})


def test_new_pictures_of_an_update_are_embedded(client: Client) -> None:
    put(client, Item("a", (Picture(png(RED)),)), Item("b", (Picture(png(BLUE)),)))
    list(client.update_items([ItemUpdate("a", pictures=[Picture(png(BLUE))])]))
    found = client.recommend(item="b", k=1)[0]
    assert found.item.id == "a"
    assert found.score == pytest.approx(1, abs=1e-6)


def test_an_update_without_pictures_takes_their_vectors_away(client: Client) -> None:
    put(client, Item("a", (Picture(png(RED)),)))
    list(client.update_items([ItemUpdate("a", pictures=[])]))
    after = client.get_item("a")
    assert (after.pictures, after.vectors) == ((), ())


def test_an_update_of_vectors_leaves_those_of_other_spaces(client: Client) -> None:
    put(client, Item("a", (Picture(png(RED)),), vectors=[Vector(np.array([1, 2], np.float32), "own")]))
    list(client.update_items([ItemUpdate("a", vectors=[Vector(np.array([3, 4], np.float32), "own")])]))
    vectors = {vector.space: vector.values.tolist() for vector in client.get_item("a").vectors}
    assert vectors["own"] == [3, 4]
    assert "visual" in vectors


@pytest.mark.parametrize(
    ("update", "words"),
    [
        (ItemUpdate("a"), "changes nothing"),
        (ItemUpdate("a", attributes={"x": 1}, all_attributes={"y": 2}), "give one of them"),
    ],
)
def test_an_update_that_says_nothing_or_two_things_is_refused(client: Client, update: ItemUpdate, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(client.update_items([update]))


def test_an_etag_keeps_two_writers_apart(client: Client) -> None:
    put(client, Item("a", title="first"))
    read = client.get_item("a")
    put(client, Item("a", title="second"))
    for results in (
        client.put_items([read]),
        client.update_items([ItemUpdate("a", title="third", etag=read.etag)]),
        client.delete_items([read]),
    ):
        (result,) = results
        assert isinstance(result.error, twinset.Aborted)
        assert result.error.reason == "STALE_ETAG"
    with pytest.raises(twinset.Aborted):
        client.delete_item("a", etag=read.etag)
    assert client.get_item("a").title == "second"


def test_deletions_report_each_and_leave_the_rest(client: Client) -> None:
    put(client, Item("a"), Item("b"), Item("c"))
    results = list(client.delete_items(["a", "nobody", "c"]))
    assert [result.error is None for result in results] == [True, False, True]
    assert isinstance(results[1].error, twinset.NotFound)
    assert [item.id for item in client.list_items()] == ["b"]


def test_a_slowed_answer_tells_for_how_long(client: Client, service: FakeService) -> None:
    service.catalog.slowed_s = 0.25
    (result,) = client.put_items([Item("a")])
    assert result.slowed_s == 0.25
    service.catalog.slowed_s = 0
    (result,) = client.put_items([Item("a")])
    assert result.slowed_s == 0


def vectored(item_id: str) -> Item:
    return Item(item_id, vectors=[Vector(np.array([1, 2], np.float32), "own")])


def test_items_that_the_index_is_behind_for_are_sent_again_in_order(client: Client, service: FakeService) -> None:
    service.catalog.behind = 5
    results = list(client.put_items([vectored(str(n)) for n in range(8)], batch=2))
    assert [(result.id, result.error) for result in results] == [(str(n), None) for n in range(8)]
    assert service.catalog.behind == 0
    # Whatever was made the first time was not made again.
    assert client.catalog().sequence == 8


def test_an_index_that_stays_behind_is_told_after_some_tries(client: Client, service: FakeService) -> None:
    service.catalog.behind = 1000
    (result,) = client.put_items([vectored("a")])
    assert isinstance(result.error, twinset.ResourceExhausted)
    assert result.error.reason == "INDEX_BEHIND"
    assert service.catalog.behind == 1000 - REFUSALS


def test_a_host_that_vanishes_during_a_commit_is_given_up(service: FakeService) -> None:
    with (
        SilentProxy(service.address) as proxy,
        Client(proxy.address, timeout_s=600, keepalive_s=0.5) as client,
        pytest.raises(twinset.Unavailable, match="connection to"),
    ):
        client.replace_catalog([Item("a")], report=lambda result: proxy.fall_silent())


def test_a_feed_replaces_all_and_embeds_only_what_changed(client: Client, service: FakeService) -> None:
    put(client, Item("same", (Picture(png(RED)),)), Item("new look", (Picture(png(RED)),)), Item("gone"))
    embedded = service.embedder.embedded
    results: list[FeedResult] = []
    summary = client.replace_catalog(
        [
            Item("same", (Picture(png(RED)),)),
            Item("new look", (Picture(png(BLUE)),)),
            Item("new", (Picture(png(BLUE)),)),
        ],
        report=results.append,
    )
    assert (summary.created, summary.replaced, summary.unchanged, summary.deleted) == (1, 1, 1, 1)
    assert service.embedder.embedded == embedded + 2
    assert {result.id: result.unchanged for result in results} == {"same": True, "new look": False, "new": False}
    assert [item.id for item in client.list_items()] == ["new", "new look", "same"]
    assert client.catalog().sequence == summary.sequence


def test_a_feed_with_a_failure_changes_nothing_unless_allowed(client: Client) -> None:
    put(client, Item("bad", title="old"), Item("gone"))
    feed = [Item("good"), Item("bad", (Picture(TEXT),), title="new")]
    results: list[FeedResult] = []
    with pytest.raises(twinset.FailedPrecondition, match="'bad'") as failure:
        client.replace_catalog(feed, report=results.append)
    assert failure.value.reason == "FEED_HAS_FAILURES"
    assert [result.id for result in results if result.error] == ["bad"]
    assert [item.id for item in client.list_items()] == ["bad", "gone"]
    summary = client.replace_catalog(feed, allow_failed=True)
    assert (summary.created, summary.unchanged, summary.deleted, summary.failed) == (1, 1, 1, 1)
    assert client.get_item("bad").title == "old"


def test_an_empty_feed_deletes_nothing_unless_allowed(client: Client) -> None:
    put(client, Item("a"))
    with pytest.raises(twinset.FailedPrecondition) as failure:
        client.replace_catalog([])
    assert failure.value.reason == "FEED_IS_EMPTY"
    assert client.catalog().item_count == 1
    assert client.replace_catalog([], allow_empty=True).deleted == 1
    assert client.catalog().item_count == 0


def test_a_feed_whose_source_fails_is_abandoned(client: Client, service: FakeService) -> None:
    put(client, Item("a"))

    def items() -> Iterator[Item]:
        yield Item("b")
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        client.replace_catalog(items(), batch=1)
    assert [item.id for item in client.list_items()] == ["a"]


def test_items_of_a_feed_that_triton_could_not_take_are_sent_again(client: Client, service: FakeService) -> None:
    service.embedder.down = True

    def items() -> Iterator[Item]:
        yield Item("a", (Picture(png(RED)),))
        yield Item("b")

    def report(result: FeedResult) -> None:
        # The second is answered behind the first, which failed by then.
        if result.id == "b":
            service.embedder.down = False
        assert result.error is None

    summary = client.replace_catalog(items(), report=report, batch=1)
    assert (summary.created, summary.failed) == (2, 0)


def test_users_are_stored_with_what_is_known_of_them(client: Client, service: FakeService) -> None:
    vector = Vector(np.array([1, 2], np.float32), "own")
    results = list(client.put_users([User("u", {"plan": "gold"}, [vector]), User(""), User("v", vectors=[vector] * 2)]))
    assert [result.error is None for result in results] == [True, False, False]
    assert [result.error.field for result in results if result.error] == ["id", "vectors[1].space"]
    assert client.catalog().user_count == 1
    stored = asyncio.run(service.catalog.user("u"))
    assert (stored.attributes, stored.vectors[0].values.tolist()) == ({"plan": "gold"}, [1, 2])


def test_interactions_come_back_as_they_were_put_and_an_export_goes_on_behind_the_last(client: Client) -> None:
    given = [Interaction(f"u{n}", f"i{n}", "buy", 0.5, NOON + datetime.timedelta(microseconds=n)) for n in range(2500)]
    assert all(result.error is None for result in client.put_interactions(given))
    exported = list(client.export_interactions())
    assert [(i.user_id, i.item_id, i.kind, i.weight, i.time) for i in exported] == [
        (i.user_id, i.item_id, i.kind, i.weight, i.time) for i in given
    ]
    assert client.catalog().interaction_count == 2500
    rest = list(client.export_interactions(after=exported[-2].sequence))
    assert rest == exported[-1:]
    list(client.put_interactions([Interaction("u", "i", "view")]))
    (latest,) = client.export_interactions(after=exported[-1].sequence)
    assert (latest.weight, latest.time is not None) == (1.0, True)


def test_a_user_is_told_of_and_deleted_with_all_acts(client: Client) -> None:
    list(client.put_users([User("u", {"age": 33})]))
    list(client.put_interactions([Interaction("u", "i", "view"), Interaction("v", "i", "view")]))
    data = client.get_user("u")
    assert (data.user.id, data.user.attributes, data.interactions, data.has_factors) == ("u", {"age": 33}, 1, False)
    assert client.get_user("v").user == User("v", vectors=[])
    sequence = client.delete_user("u")
    assert sequence == client.catalog().sequence
    with pytest.raises(NotFound, match="u"):
        client.get_user("u")
    assert [one.user_id for one in client.export_interactions()] == ["v"]


def test_an_interaction_may_name_the_answer_that_it_came_from(client: Client) -> None:
    list(client.put_items([Item("a", vectors=[Vector(np.zeros(2, np.float32), "own")])]))
    vector = Vector(np.zeros(2, np.float32), "own")
    first, second = client.recommend(vector=vector), client.recommend(vector=vector)
    assert len({first.recommendation_id, second.recommendation_id}) == 2
    list(client.put_interactions([Interaction("u", "a", "buy", recommendation_id=first.recommendation_id)]))
    (stored,) = client.export_interactions()
    assert stored.recommendation_id == first.recommendation_id


def test_a_bad_interaction_fails_alone(client: Client) -> None:
    given = [Interaction("u", "i", "like"), Interaction("u", "i", ""), Interaction("u", "i", "like", float("nan"))]
    results = list(client.put_interactions(given))
    assert [result.error.field if result.error else None for result in results] == [None, "kind", "weight"]


def test_all_items_are_exported_with_as_much_as_the_view_says(client: Client) -> None:
    put(client, *(Item(f"{n:04}", vectors=[Vector(np.array([n, 1], np.float32), "own")]) for n in range(1200)))
    assert [item.id for item in client.export_items()] == [f"{n:04}" for n in range(1200)]
    assert not any(item.vectors for item in client.export_items(after="1190"))
    full = list(client.export_items(view="full", after="1197"))
    assert [item.vectors[0].values.tolist() for item in full] == [[1198, 1], [1199, 1]]


def test_an_export_that_breaks_goes_on_behind_what_came(client: Client, service: FakeService) -> None:
    list(client.put_interactions(Interaction("u", str(n), "view") for n in range(2500)))
    read, asked = service.catalog.interactions, []

    async def broken(*, after: int, limit: int) -> list[StoredInteraction]:
        asked.append(after)
        if len(asked) == 2:
            raise StoreUnavailable("the store is away", retry_after_s=0)
        return await read(after=after, limit=limit)

    service.catalog.interactions = broken  # type: ignore[method-assign]
    assert [i.item_id for i in client.export_interactions()] == [str(n) for n in range(2500)]
    assert asked == [0, 1000, 1000, 2000, 2500]


def test_an_export_gives_up_while_the_store_stays_away(client: Client, service: FakeService) -> None:
    async def away(*, after: int, limit: int) -> list[StoredInteraction]:
        raise StoreUnavailable("the store is away", retry_after_s=0)

    service.catalog.interactions = away  # type: ignore[method-assign]
    with pytest.raises(twinset.Unavailable, match="the store is away"):
        list(client.export_interactions())
