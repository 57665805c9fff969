"""Commands that change and export, against the real gRPC server."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fakes.command_line import Outcome, Twinset, picture
from fakes.service import FakeService
from twinset.cli.app import run
from twinset.client import Client
from twinset.items import Interaction, Item


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address, timeout_s=10) as client:
        yield client


@pytest.fixture
def twinset(service: FakeService, capsys: pytest.CaptureFixture[str]) -> Twinset:
    def call(*arguments: str | Path) -> Outcome:
        code = run(["--server", service.address, *map(str, arguments)])
        return Outcome(code, *capsys.readouterr())

    return call


def put(client: Client, *items: Item) -> None:
    assert [result.error for result in client.put_items(items)] == [None] * len(items)


def test_update_changes_what_rows_give_and_leaves_the_rest(twinset: Twinset, client: Client, tmp_path: Path) -> None:
    put(client, Item("a", title="A", category="shoes", attributes={"price": 1.5, "size": "M"}), Item("b", title="B"))
    table = tmp_path / "prices.csv"
    table.write_text("id,title,price\na,,2.5\nb,New,\nnobody,x,1.0\n")
    outcome = twinset("update", table)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("3 items: 2 updated, 1 not there, 0 failed")
    a, b = client.get_item("a"), client.get_item("b")
    assert (a.title, a.category, a.attributes) == ("A", "shoes", {"price": 2.5, "size": "M"})
    assert (b.title, b.attributes) == ("New", {})


def test_update_takes_away_what_is_empty_where_asked(twinset: Twinset, client: Client, tmp_path: Path) -> None:
    put(client, Item("a", title="A", category="shoes", attributes={"price": 1.5, "size": "M"}))
    table = tmp_path / "prices.csv"
    table.write_text("id,title,price\na,,\n")
    assert twinset("update", table, "--clear-empty").out.startswith("1 item: 1 updated")
    a = client.get_item("a")
    assert (a.title, a.category, a.attributes) == ("", "shoes", {"size": "M"})


def test_update_needs_something_to_change(twinset: Twinset, tmp_path: Path) -> None:
    table = tmp_path / "ids.csv"
    table.write_text("id\na\n")
    outcome = twinset("update", table)
    assert outcome.code == 2
    assert "add a column" in outcome.err


def test_delete_takes_ids_or_a_file(twinset: Twinset, client: Client, tmp_path: Path) -> None:
    put(client, *(Item(item_id) for item_id in "abcd"))
    assert twinset("delete", "a", "nobody").out.startswith("2 items: 1 deleted, 1 not there, 0 failed")
    ids = tmp_path / "ids.txt"
    ids.write_text("b\n\n  c \n")
    assert twinset("delete", "--file", ids).out.startswith("2 items: 2 deleted")
    assert [item.id for item in client.list_items()] == ["d"]
    for wrong in ([], ["d", "--file", str(ids)]):
        outcome = twinset("delete", *wrong)
        assert (outcome.code, "delete takes ids, or --file" in outcome.err) == (2, True)
    assert client.catalog().item_count == 1


def test_replace_makes_the_catalogue_what_a_folder_holds(twinset: Twinset, client: Client, photos: Path) -> None:
    put(client, Item("gone"))
    outcome = twinset("replace", photos)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("3 items: 3 created, 0 replaced, 0 unchanged, 1 deleted, 0 failed")
    (photos / "blue.webp").unlink()
    (photos / "shoes" / "red.png").write_bytes(picture(9, 0, 0))
    assert twinset("replace", photos).out.startswith("2 items: 0 created, 1 replaced, 1 unchanged, 1 deleted")
    assert [item.id for item in client.list_items()] == ["shoes/orange", "shoes/red"]


def test_replace_reads_a_table_that_names_pictures(twinset: Twinset, client: Client, photos: Path) -> None:
    table = photos / "feed.csv"
    table.write_text("id,title,price,picture\n1,Pumps,9.5,shoes/red.png\n2,,3.0,blue.webp\n")
    assert twinset("replace", table).out.startswith("2 items: 2 created")
    item = client.get_item("1")
    assert (item.title, item.attributes, len(item.pictures)) == ("Pumps", {"price": 9.5}, 1)
    table.write_text("id,picture\n1,shoes/red.png\n2,\n")
    outcome = twinset("replace", table)
    assert outcome.code == 2
    assert "column 'picture': the item '2' has no picture" in outcome.err


def test_replace_changes_nothing_where_a_picture_is_bad_unless_allowed(
    twinset: Twinset, client: Client, photos: Path
) -> None:
    twinset("replace", photos)
    before = client.get_item("blue")
    (photos / "blue.webp").write_bytes(b"cut off")
    (photos / "shoes" / "red.png").unlink()
    outcome = twinset("replace", photos)
    assert outcome.code == 2
    assert f"failed: {photos / 'blue.webp'}: not a JPEG, PNG or WebP" in outcome.err
    assert "nothing was changed" in outcome.err
    assert client.catalog().item_count == 3
    allowed = twinset("replace", photos, "--allow-failed")
    assert allowed.code == 1
    assert allowed.out.startswith("2 items: 0 created, 0 replaced, 2 unchanged, 1 deleted, 1 failed")
    assert client.get_item("blue").etag == before.etag


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_interactions_go_in_and_out_of_files(twinset: Twinset, client: Client, tmp_path: Path, kind: str) -> None:
    table = tmp_path / "clicks.csv"
    table.write_text(
        "user_id,item_id,kind,weight,time\nu,a,buy,2.5,2026-03-01T12:00:00Z\nv,b,view,,1772366400.5\nw,c,like,,\n"
    )
    assert twinset("put-interactions", table).out.startswith("3 interactions: 3 put, 0 failed")
    exported = tmp_path / f"out.{kind}"
    outcome = twinset("export", "interactions", "-o", exported)
    assert outcome.code == 0
    assert "3 interactions" in outcome.out
    assert outcome.out.endswith("go on behind these with --after 3\n")
    if kind == "csv":
        with exported.open(newline="") as file:
            first, second, third = csv.DictReader(file)
        assert first == {
            "user_id": "u", "item_id": "a", "kind": "buy", "weight": "2.5", "time": "2026-03-01T12:00:00+00:00"
        }  # fmt: skip
        assert (second["weight"], second["time"]) == ("1.0", "2026-03-01T12:00:00.500000+00:00")
        assert third["time"]
    else:
        read = pq.read_table(exported).to_pylist()
        assert [(row["user_id"], row["weight"]) for row in read] == [("u", 2.5), ("v", 1.0), ("w", 1.0)]
    # What an export wrote can be put again as it is, and an export goes on behind the last.
    assert twinset("put-interactions", exported).out.startswith("3 interactions: 3 put")
    assert "3 interactions" in twinset("export", "interactions", "-o", exported, "--after", "3").out
    again = list(client.export_interactions(after=3))
    assert [(i.user_id, i.time) for i in again] == [(i.user_id, i.time) for i in client.export_interactions()][:3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id,item_id\nu,a\n", "has no column 'kind': it has user_id, item_id"),
        ("user_id,item_id,kind\nu,,buy\n", "line 2, column 'item_id': has no value"),
        ("user_id,item_id,kind,weight\nu,a,buy,much\n", "line 2, column 'weight': 'much' is no number"),
        ("user_id,item_id,kind,time\nu,a,buy,1\nu,a,buy,noon\n", "line 3, column 'time': 'noon' is no time"),
    ],
)
def test_a_bad_row_of_interactions_is_named(twinset: Twinset, tmp_path: Path, content: str, message: str) -> None:
    table = tmp_path / "clicks.csv"
    table.write_text(content)
    outcome = twinset("put-interactions", table)
    assert outcome.code == 2
    assert message in outcome.err


def test_interactions_that_broke_off_say_where_to_go_on(twinset: Twinset, client: Client, tmp_path: Path) -> None:
    table = tmp_path / "clicks.csv"
    rows = [f"u{n},a,buy,1" for n in range(300)]
    table.write_text("\n".join(["user_id,item_id,kind,weight", *rows, "u,a,buy,much"]) + "\n")
    outcome = twinset("put-interactions", table)
    assert outcome.code == 2
    assert "line 302" in outcome.err
    assert f"go on with --skip {client.catalog().interaction_count}" in outcome.err
    table.write_text("\n".join(["user_id,item_id,kind,weight", *rows]) + "\n")
    twinset("put-interactions", table, "--skip", str(client.catalog().interaction_count))
    assert [i.user_id for i in client.export_interactions()] == [f"u{n}" for n in range(300)]


def test_a_refused_interaction_is_told_by_its_line(twinset: Twinset, tmp_path: Path) -> None:
    table = tmp_path / "clicks.csv"
    table.write_text(f"user_id,item_id,kind\nu,a,buy\nu,a,{'x' * 65}\n")
    outcome = twinset("put-interactions", table)
    assert outcome.code == 1
    assert "failed: line 3: kind" in outcome.err


def test_users_are_put_with_every_column_as_an_attribute(
    twinset: Twinset, service: FakeService, tmp_path: Path
) -> None:
    table = tmp_path / "users.csv"
    table.write_text("id,title,age\nu,Dr,44\n")
    assert twinset("put-users", table).out.startswith("1 user: 1 put, 0 failed")
    assert asyncio.run(service.catalog.user("u")).attributes == {"title": "Dr", "age": 44}


def test_items_are_exported_with_attributes_and_vectors(twinset: Twinset, photos: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("id,title,price\nblue,Sea,2.5\n")
    twinset("replace", photos, "--attributes", facts)
    out = tmp_path / "items.jsonl"
    assert twinset("export", "items", "-o", out).out.startswith(f"{out}: 3 items")
    first = json.loads(out.read_text().splitlines()[0])
    assert first == {"id": "blue", "title": "Sea", "uri": "", "category": "", "attributes": {"price": 2.5}}
    table = tmp_path / "items.parquet"
    twinset("export", "items", "-o", table, "--vectors", "visual", "--after", "blue")
    rows = pq.read_table(table).to_pylist()
    assert [row["id"] for row in rows] == ["shoes/orange", "shoes/red"]
    (vector,) = json.loads(rows[0]["vectors"])
    assert len(vector) == 64


@pytest.mark.parametrize("name", ["out.txt", "nowhere/out.csv"])
def test_an_export_that_can_not_be_written_is_refused_at_once(twinset: Twinset, tmp_path: Path, name: str) -> None:
    outcome = twinset("export", "items", "-o", tmp_path / name)
    assert outcome.code == 2
    assert "--output" in outcome.err


def test_an_export_that_fails_leaves_no_file(twinset: Twinset, client: Client, tmp_path: Path) -> None:
    list(client.put_interactions([Interaction("u", "a", "buy")]))
    target = tmp_path / "taken.csv"
    target.mkdir()
    outcome = twinset("export", "interactions", "-o", target)
    assert outcome.code == 2
    assert "can't be written" in outcome.err
    assert list(tmp_path.iterdir()) == [target]


def test_put_says_that_the_server_held_answers_back(twinset: Twinset, service: FakeService, photos: Path) -> None:
    service.catalog.slowed_s = 0.25
    assert "held answers back for up to 0.2 s" in twinset("put", photos).out


def test_status_counts_users_and_interactions(twinset: Twinset, client: Client) -> None:
    list(client.put_interactions([Interaction("u", "a", "buy")]))
    told = json.loads(twinset("status", "--json").out)
    assert (told["user_count"], told["interaction_count"]) == (0, 1)
    shown = twinset("status").out
    assert "users" in shown
    assert "interactions" in shown
