from __future__ import annotations

import datetime
import io
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

import twinset
from fakes.server import DIMENSION, FINGERPRINT, MODEL, FakeServer, embed, internal, unavailable
from twinset import Client, Facet, Item, Picture, Vector
from twinset.v1 import filter_pb2


def png(red: int, green: int, blue: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, green, blue)).save(buffer, "PNG")
    return buffer.getvalue()


RED, ORANGE, BLUE = png(250, 0, 0), png(250, 90, 0), png(0, 0, 250)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.address, timeout_s=10) as client:
        yield client


def put(client: Client, *items: Item) -> None:
    assert [result.error for result in client.put_items(items)] == [None] * len(items)


def test_an_item_comes_back_as_it_was_put(client: Client) -> None:
    noon = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    attributes = {"n": 1, "x": 1.0, "new": True, "size": "M", "tags": ("a", "b"), "since": noon}
    vector = Vector(np.arange(DIMENSION, dtype=np.float32), "visual", FINGERPRINT)
    put(client, Item("a", (Picture(RED),), "A", "https://x/a", "shoes", attributes, (vector,)))
    item = client.get_item("a")
    assert (item.id, item.title, item.uri, item.category) == ("a", "A", "https://x/a", "shoes")
    assert item.attributes == attributes
    assert {name: type(value) for name, value in item.attributes.items()} == {
        name: type(value) for name, value in attributes.items()
    }
    assert item.pictures[0].media_type == "image/png"
    assert item.pictures[0].content == b""
    assert item.created is not None
    assert item.created.tzinfo is not None
    np.testing.assert_array_equal(item.vectors[0].values, vector.values)


def test_recommend_by_item_picture_and_vector_agree_with_the_oracle(client: Client) -> None:
    put(client, Item("red", (Picture(RED),)), Item("orange", (Picture(ORANGE),)), Item("blue", (Picture(BLUE),)))
    by_item = client.recommend(item="red", k=2)
    assert [found.item.id for found in by_item] == ["orange", "blue"]
    assert by_item[0].score == pytest.approx(float(embed(RED) @ embed(ORANGE)), abs=1e-6)
    assert (by_item.exact, by_item.candidates_examined, by_item.space) == (True, 2, "visual")
    assert by_item.metric is twinset.Metric.COSINE
    assert [found.item.id for found in client.recommend(picture=RED)] == ["red", "orange", "blue"]
    vector = Vector(embed(BLUE), "visual", FINGERPRINT)
    assert [found.item.id for found in client.recommend(vector=vector, exclude=["orange"])] == ["blue", "red"]


def test_a_filter_goes_along_as_text_or_as_a_message(server: FakeServer, client: Client) -> None:
    put(client, Item("red", (Picture(RED),)))
    message = filter_pb2.Filter(exists="category")
    client.recommend(item="red", filter="category = shoes")
    client.recommend(item="red", filter=message)
    assert server.filters == ["category = shoes", message]


def test_facets_come_back_by_field(client: Client) -> None:
    named = [Item(name, (Picture(RED),), category=name[0]) for name in ("a1", "a2", "b1")]
    put(client, Item("red", (Picture(RED),)), *named)
    answer = client.recommend(item="red", facets={"category": 1})
    assert answer.facets == {"category": Facet((("a", 2),), distinct_count=2, missing_count=1)}
    assert answer.matching_count == 4
    assert client.recommend(item="red", facets=["category"]).facets["category"].counts == (("a", 2), ("b", 1))
    assert client.recommend(item="red").matching_count is None


def test_recommend_takes_exactly_one_example(client: Client) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        client.recommend(item="a", picture=RED)
    with pytest.raises(ValueError, match="exactly one"):
        client.recommend()


def test_a_failed_call_carries_reason_code_and_field(client: Client) -> None:
    with pytest.raises(twinset.NotFound, match="no item 'nobody'") as missing:
        client.recommend(item="nobody")
    assert (missing.value.reason, missing.value.code) == ("ITEM_NOT_FOUND", "NOT_FOUND")
    with pytest.raises(twinset.InvalidArgument) as bad:
        client.recommend(picture=b"no picture")
    assert bad.value.field == "examples[0].picture"


def test_an_internal_error_names_the_request_in_the_log(server: FakeServer, client: Client) -> None:
    server.refusals = [internal("req-7")]
    with pytest.raises(twinset.Internal, match="req-7") as failure:
        client.catalog()
    assert failure.value.request_id == "req-7"


def test_reads_are_tried_again_while_the_server_is_unavailable(server: FakeServer, client: Client) -> None:
    server.refusals = [unavailable(1), unavailable(1)]
    assert client.catalog().item_count == 0
    assert server.calls == ["GetCatalog"] * 3


def test_reads_that_send_a_large_picture_are_tried_again_too(server: FakeServer, client: Client) -> None:
    put(client, Item("red", (Picture(RED),)))
    server.refusals = [unavailable(1)]
    assert [found.item.id for found in client.recommend(picture=RED + bytes(2_000_000))] == ["red"]
    assert server.calls == ["Recommend"] * 2


def test_a_deletion_is_tried_again_under_its_name(server: FakeServer, client: Client) -> None:
    put(client, Item("a", (Picture(RED),)))
    server.refusals = [unavailable(0)]
    assert client.delete_item("a") == 2
    assert server.calls == ["DeleteItem"] * 2
    assert len(server.delete_names) == 2
    assert server.delete_names[0] == server.delete_names[1] != ""


def test_a_deletion_gives_up_while_the_server_stays_away(server: FakeServer, client: Client) -> None:
    put(client, Item("a", (Picture(RED),)))
    server.refusals = [unavailable(0)] * 4
    with pytest.raises(twinset.Unavailable):
        client.delete_item("a")
    assert sorted(server.items) == ["a"]


def test_a_put_goes_on_under_the_same_names_where_its_stream_broke(server: FakeServer, client: Client) -> None:
    server.break_once_after = 2
    results = list(client.put_items((Item(str(n), (Picture(RED),)) for n in range(6)), batch=1))
    assert [(result.id, result.error) for result in results] == [(str(n), None) for n in range(6)]
    # The third was done when the stream broke: its name came twice, and no other name stands for two messages.
    third = server.put_names[2]
    assert server.put_names.count(third) == 2
    assert len(set(server.put_names)) == 6


def test_a_source_that_fails_while_its_stream_is_begun_anew_is_told(server: FakeServer, client: Client) -> None:
    server.break_once_after = 0

    def items() -> Iterator[Item]:
        yield Item("a", (Picture(RED),))
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        list(client.put_items(items(), batch=1))


def test_an_absent_server_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Client(address, timeout_s=20) as client, pytest.raises(twinset.Unavailable) as failure:
            client.catalog()
    assert failure.value.message == (
        f"no twinset server at {address}: start one with `twinset-server serve`, or name another with --server"
    )


@pytest.mark.parametrize("address", ["localhost", "http://localhost:50051", ":50051", "localhost:http"])
def test_a_malformed_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        Client(address)


def test_embed_gives_each_picture_its_vector_or_its_error(client: Client) -> None:
    red, bad = client.embed([RED, b"x"], outputs=["features", "embedding"])
    assert list(red.outputs) == ["features", "embedding"]
    assert red.model == MODEL
    np.testing.assert_allclose(red["embedding"].values, embed(RED))
    assert (red["embedding"].space, red["features"].space) == ("visual", "")
    with pytest.raises(twinset.InvalidArgument, match="not a JPEG, PNG or WebP"):
        bad["embedding"]


def test_embed_of_no_pictures_makes_no_call(server: FakeServer, client: Client) -> None:
    assert client.embed([]) == []
    assert server.calls == []


def test_stream_embed_keeps_the_order_over_many_messages(client: Client) -> None:
    pictures = [png(level, 255 - level, 7) for level in range(100)]
    embeddings = list(client.stream_embed(iter(pictures), ["embedding"], batch=3))
    expected = np.stack([embed(picture) for picture in pictures])
    np.testing.assert_allclose(np.stack([e["embedding"].values for e in embeddings]), expected)


def test_stream_embed_of_single_pictures_answers_each_before_the_next_comes(client: Client) -> None:
    answered = threading.Event()

    def slow() -> Iterator[bytes]:
        yield RED
        assert answered.wait(10)
        yield BLUE

    answers = client.stream_embed(slow(), batch=1)
    next(answers)
    answered.set()
    assert next(answers).error is None


def test_put_items_gathers_items_into_messages(server: FakeServer, client: Client) -> None:
    put(client, *(Item(f"{n:03}", (Picture(RED),)) for n in range(150)))
    assert server.puts == [64, 64, 22]


def test_put_items_sends_large_items_in_several_messages(server: FakeServer, client: Client) -> None:
    large = RED + bytes(3 * 1024 * 1024)
    put(client, *(Item(f"{n}", (Picture(large),)) for n in range(5)))
    assert server.puts == [2, 2, 1]


def test_put_items_reports_a_bad_item_in_its_place(client: Client) -> None:
    results = list(client.put_items([Item("a", (Picture(RED),)), Item("b", (Picture(b"x"),)), Item("c")]))
    assert [(result.id, result.error is None) for result in results] == [("a", True), ("b", False), ("c", True)]
    assert isinstance(results[1].error, twinset.InvalidArgument)
    assert results[1].error.field == "pictures[0].content"
    assert sorted(client.get_items(["a", "b", "c"])) == ["a", "c"]


def test_what_was_answered_before_a_stream_breaks_is_returned(server: FakeServer, client: Client) -> None:
    server.break_stream_after = 2
    results = client.put_items((Item(f"{n}", (Picture(RED),)) for n in range(50)), batch=1)
    assert [next(results).id, next(results).id] == ["0", "1"]
    with pytest.raises(twinset.Unavailable, match="Triton"):
        next(results)


def test_an_error_of_the_source_comes_after_the_answers_to_what_it_gave(client: Client) -> None:
    def items() -> Iterator[Item]:
        yield Item("a", (Picture(RED),))
        raise OSError("the disk went away")

    results = client.put_items(items(), batch=1)
    assert next(results).id == "a"
    with pytest.raises(OSError, match="the disk went away"):
        next(results)


def test_an_item_larger_than_a_message_is_named(client: Client) -> None:
    with pytest.raises(twinset.InvalidArgument, match="item 'big' takes 25"):
        list(client.put_items([Item("big", (Picture(bytes(25 * 1024 * 1024)),))]))


def test_a_stream_draws_at_most_four_messages_ahead(client: Client) -> None:
    drawn: list[int] = []

    def items() -> Iterator[Item]:
        for n in range(100):
            drawn.append(n)
            yield Item(f"{n}", (Picture(RED),))

    results = client.put_items(items(), batch=1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    # One answered, four in flight, one held in the hand.
    assert len(drawn) <= 6


def test_a_silent_server_ends_a_stream_by_deadline(server: FakeServer) -> None:
    server.silent_after = 0
    with Client(server.address, timeout_s=0.5) as client, pytest.raises(twinset.DeadlineExceeded, match="unanswered"):
        list(client.put_items([Item("a", (Picture(RED),))]))


def test_a_slow_source_is_no_fault_of_the_server(server: FakeServer) -> None:
    pause = threading.Event()

    def slow() -> Iterator[Item]:
        yield Item("a", (Picture(RED),))
        pause.wait(1.2)
        yield Item("b", (Picture(RED),))

    with Client(server.address, timeout_s=0.5) as client:
        assert [result.id for result in client.put_items(slow(), batch=1)] == ["a", "b"]


def test_list_items_walks_all_pages(server: FakeServer, client: Client) -> None:
    ids = [f"{n:02}" for n in range(25)]
    put(client, *(Item(item_id) for item_id in ids))
    assert [item.id for item in client.list_items(page_size=10)] == ids
    assert server.calls == ["ListItems"] * 3


def test_get_items_asks_in_pages_of_a_thousand(server: FakeServer, client: Client) -> None:
    put(client, Item("1"), Item("2400"))
    assert sorted(client.get_items(str(n) for n in range(2500))) == ["1", "2400"]
    assert server.calls == ["BatchGetItems"] * 3


def test_get_picture_joins_the_pieces(client: Client) -> None:
    put(client, Item("a", (Picture(RED), Picture(BLUE, id="back"))))
    assert client.get_picture("a").content == RED
    back = client.get_picture("a", "back")
    assert (back.content, back.width, back.media_type) == (BLUE, 4, "image/png")


def test_get_picture_says_that_contents_are_not_kept(server: FakeServer, client: Client) -> None:
    put(client, Item("a", (Picture(RED),)))
    server.stores_pictures = False
    with pytest.raises(twinset.FailedPrecondition) as failure:
        client.get_picture("a")
    assert failure.value.reason == "PICTURE_NOT_STORED"


def test_catalog_tells_counts_and_spaces(client: Client) -> None:
    put(client, Item("a", (Picture(RED),)), Item("b"))
    catalog = client.catalog()
    assert (catalog.item_count, catalog.picture_count, catalog.sequence) == (2, 1, 2)
    (space,) = catalog.spaces
    assert (space.name, space.dimension, space.fingerprint, space.model) == ("visual", DIMENSION, FINGERPRINT, MODEL)


def test_threads_share_a_client(client: Client) -> None:
    put(client, *(Item(f"{n}", (Picture(png(n, 100, 3)),)) for n in range(20)))
    answers: dict[int, list[str]] = {}

    def ask(n: int) -> None:
        answers[n] = [found.item.id for found in client.recommend(item=str(n), k=3)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [found.item.id for found in client.recommend(item=str(n), k=3)] for n in range(20)}


@pytest.mark.parametrize(("value", "kind"), [({"a": 1}, TypeError), (2**63, ValueError)])
def test_an_attribute_that_can_not_be_sent_is_named(client: Client, value: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="attribute 'size'"):
        list(client.put_items([Item("a", attributes={"size": value})]))  # type: ignore[dict-item]
