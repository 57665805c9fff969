from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.command_line import Twinset, picture
from fakes.server import FakeServer, internal, invalid, unavailable
from twinset import Client
from twinset.cli.put import FolderPut


def test_put_stores_every_picture_under_its_path_without_extension(
    twinset: Twinset, server: FakeServer, photos: Path
) -> None:
    outcome = twinset("put", photos)
    assert outcome.code == 0
    assert sorted(server.items) == ["blue", "shoes/orange", "shoes/red"]
    assert outcome.out.startswith("3 pictures: 3 put, 0 unchanged, 0 failed")


@pytest.mark.parametrize(
    ("rule", "ids"), [("name", ["blue.webp", "orange.JPG", "red.png"]), ("stem", ["blue", "orange", "red"])]
)
def test_the_id_rule_names_items(twinset: Twinset, server: FakeServer, photos: Path, rule: str, ids: list[str]) -> None:
    assert twinset("put", photos, "--id", rule).code == 0
    assert sorted(server.items) == ids


def test_two_files_of_one_id_are_named_and_nothing_is_put(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    (photos / "red.jpg").write_bytes(picture(1, 2, 3, "JPEG"))
    outcome = twinset("put", photos, "--id", "stem")
    assert outcome.code == 2
    assert "red.jpg" in outcome.err
    assert str(Path("shoes", "red.png")) in outcome.err
    assert server.items == {}


def test_again_puts_what_is_unchanged_too(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    twinset("put", photos)
    server.puts.clear()
    assert twinset("put", photos, "--again").out.startswith("3 pictures: 3 put, 0 unchanged")
    assert sum(server.puts) == 3


def test_a_second_run_puts_only_what_changed(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    twinset("put", photos)
    server.puts.clear()
    assert twinset("put", photos).out.startswith("3 pictures: 0 put, 3 unchanged")
    assert server.puts == []
    (photos / "blue.webp").write_bytes(picture(0, 9, 250, "WEBP"))
    assert twinset("put", photos).out.startswith("3 pictures: 1 put, 2 unchanged")
    assert server.puts == [1]


def test_a_changed_fact_or_its_type_alone_is_a_change(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "facts.csv"
    for text, put in (("id,size\nblue,1\n", 3), ("id,size\nblue,1.0\n", 1), ("id,size\nblue,1.0\n", 0)):
        table.write_text(text)
        assert f"{put} put" in twinset("put", photos, "--attributes", table).out
    assert server.items["blue"].attributes["size"].double_value == 1.0


def test_attributes_become_fields_and_typed_values(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,title,uri,category,price,new\nshoes/red,Pumps,https://x/1,shoes,12.5,true\nother,,,,3,false\n")
    outcome = twinset("put", photos, "--attributes", table)
    item = server.items["shoes/red"]
    assert (item.title, item.uri, item.category) == ("Pumps", "https://x/1", "shoes")
    assert (item.attributes["price"].double_value, item.attributes["new"].bool_value) == (12.5, True)
    assert "1 row without a picture, such as other" in outcome.out
    assert "2 pictures without a row, such as blue" in outcome.out


def test_a_table_that_matches_nothing_is_refused_before_anything_is_put(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,title\nred.png,Pumps\n")
    outcome = twinset("put", photos, "--attributes", table)
    assert outcome.code == 2
    assert "'red.png'" in outcome.err
    assert "--id" in outcome.err
    assert server.items == {}


def test_bad_files_are_listed_and_the_rest_stored(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    (photos / "notes.jpg").write_text("no picture at all")
    whole = (photos / "shoes" / "red.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[:-20])
    (photos / "readme.txt").write_text("read me")
    (photos / ".hidden.png").write_bytes(whole)
    outcome = twinset("put", photos)
    assert outcome.code == 1
    assert outcome.out.startswith("5 pictures: 3 put, 0 unchanged, 2 failed")
    assert "2 other files ignored" in outcome.out
    assert outcome.err.splitlines() == [
        f"failed: {photos / 'cut.png'}: the PNG is cut off or damaged",
        f"failed: {photos / 'notes.jpg'}: not a JPEG, PNG or WebP picture",
    ]
    assert len(server.items) == 3


def test_what_only_the_server_finds_bad_is_listed_too(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    damaged = bytearray(picture(9, 9, 9))
    damaged[-30:-14] = bytes(16)
    (photos / "damaged.png").write_bytes(damaged)
    outcome = twinset("put", photos)
    assert outcome.code == 1
    assert outcome.err == f"failed: {photos / 'damaged.png'}: the PNG is cut off or damaged\n"
    assert len(server.items) == 3


def test_a_refusal_that_is_not_the_picture_s_fault_keeps_the_field(
    twinset: Twinset, server: FakeServer, photos: Path
) -> None:
    server.put_refusals = {"blue": [invalid("category", "takes 300 bytes")]}
    assert "blue.webp: category: takes 300 bytes" in twinset("put", photos).err


def test_one_picture_is_not_called_pictures(twinset: Twinset, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(1, 2, 3))
    (folder / "notes.txt").write_text("x")
    lines = twinset("put", folder).out.splitlines()
    assert lines[0].startswith("1 picture: 1 put")
    assert lines[1] == "1 other file ignored"


def test_items_that_lose_their_facts_are_counted(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,category,size\nblue,hats,\nshoes/red,,1\n")
    assert "lost" not in twinset("put", photos, "--attributes", table).out
    server.put_refusals = {"blue": [internal("req-1")]}
    (photos / "shoes" / "orange.JPG").write_bytes(picture(9, 9, 9, "JPEG"))
    lost = "1 item lost all facts (title, uri, category, attributes): give them with --attributes FILE.csv"
    assert lost in twinset("put", photos).out.splitlines()
    assert not server.items["shoes/red"].attributes
    assert server.items["blue"].category == "hats"
    assert lost in twinset("put", photos).out.splitlines()
    assert "lost" not in twinset("put", photos).out


def test_a_table_without_title_link_and_category_gets_a_hint(twinset: Twinset, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "facts.csv"
    hint = "no row gives a title, uri or category: columns of these names become the item's title, link and category"
    table.write_text("id,Name,price\nblue,Hat,3\n")
    assert hint in twinset("put", photos, "--attributes", table).out.splitlines()
    table.write_text("id,title,price\nblue,Hat,3\n")
    assert "no row gives" not in twinset("put", photos, "--attributes", table).out
    assert "no row gives" not in twinset("put", photos).out


def test_a_table_of_a_header_alone_is_refused(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    table = photos / "facts.csv"
    table.write_text("id,title\n")
    outcome = twinset("put", photos, "--attributes", table)
    assert outcome.code == 2
    assert outcome.err.startswith(f"twinset: {table} has no rows: ")
    assert server.calls == []


def test_an_unreadable_file_is_listed(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    (photos / "gone.png").symlink_to("nowhere.png")
    outcome = twinset("put", photos)
    assert outcome.code == 1
    assert "gone.png: can't be read: No such file or directory" in outcome.err
    assert len(server.items) == 3


def test_a_file_name_that_is_no_text_is_listed(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    Path(os.fsdecode(os.fsencode(photos) + b"/\xff.png")).write_bytes(picture(1, 1, 1))
    outcome = twinset("put", photos)
    assert outcome.code == 1
    assert "�.png: the file's name is not UTF-8: rename it" in outcome.err
    assert len(server.items) == 3


def test_a_folder_without_pictures_says_so(twinset: Twinset, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no pictures (.jpg, .jpeg, .png or .webp): it is empty" in twinset("put", empty).err
    (empty / "notes.txt").write_text("x")
    assert "only other files, 1 in all" in twinset("put", empty).err
    assert "does not exist" in twinset("put", tmp_path / "nowhere").err
    outcome = twinset("put", empty / "notes.txt")
    assert outcome.err == f"twinset: {empty / 'notes.txt'} is a file: name a folder of pictures\n"
    assert outcome.code == 2


def test_a_broken_stream_tells_how_many_are_stored(twinset: Twinset, server: FakeServer, tmp_path: Path) -> None:
    for n in range(200):
        (tmp_path / f"{n:03}.png").write_bytes(picture(n, 0, 0))
    server.break_stream_after = 2
    outcome = twinset("put", tmp_path)
    assert outcome.code == 2
    assert "128 of 200 pictures stored so far: run the same command again to go on" in outcome.err
    server.break_stream_after = None
    assert twinset("put", tmp_path).out.startswith("200 pictures: 72 put, 128 unchanged")


def test_items_that_found_triton_away_are_put_again(server: FakeServer, photos: Path) -> None:
    server.put_refusals = {"blue": [unavailable(3), unavailable(3)]}
    pictures = {path.stem: path for path in photos.rglob("*.*")}
    waits: list[float] = []
    with Client(server.address) as client:
        run = FolderPut(client, pictures, {}, progress=lambda account: None, sleep=waits.append)
        run.run()
    assert (run.account.put, run.account.failed, waits) == (3, {}, [3.0, 3.0])


def test_an_outage_that_lasts_is_reported_as_a_failure(server: FakeServer, photos: Path) -> None:
    server.put_refusals = {"blue": [unavailable(1)] * 9}
    with Client(server.address) as client:
        run = FolderPut(client, {"blue": photos / "blue.webp"}, {}, progress=lambda _: None, sleep=lambda _: None)
        run.run()
    assert run.account.failed == {photos / "blue.webp": "Triton can't be reached"}
