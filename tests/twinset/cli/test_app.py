from __future__ import annotations

import builtins
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.rpc import code_pb2

import twinset.cli
from fakes.command_line import Twinset, picture
from fakes.server import FINGERPRINT, FakeServer, Refusal, internal
from twinset.cli import app
from twinset.cli.report import item_json
from twinset.items import Item
from twinset.v1 import recommender_pb2


def test_recommend_prints_a_table_of_what_is_nearest(twinset: Twinset, photos: Path) -> None:
    twinset("put", photos)
    outcome = twinset("recommend", "--item", "shoes/red", "-k", "2")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert lines[0] == ["rank", "score", "id", "category", "title"]
    assert [line[2] for line in lines[2:]] == ["shoes/orange", "blue"]


def test_recommend_prints_json(twinset: Twinset, photos: Path) -> None:
    twinset("put", photos)
    file = photos / "blue.webp"
    answer = json.loads(twinset("recommend", "--image", file, "--json", "-k", "1").out)
    assert answer["query"] == {"image": str(file)}
    assert answer["exact"] is True
    assert [(found["rank"], found["item_id"]) for found in answer["recommendations"]] == [(1, "blue")]


def test_recommend_leaves_out_what_it_is_told_to(twinset: Twinset, photos: Path) -> None:
    twinset("put", photos)
    outcome = twinset("recommend", "--item", "shoes/red", "--exclude", "shoes/orange", "--json")
    assert [found["item_id"] for found in json.loads(outcome.out)["recommendations"]] == ["blue"]


def test_recommend_shows_counts_under_the_table(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    twinset("put", photos)
    server.items["blue"].category = "sky"
    asked = ("recommend", "--item", "blue", "--filter", "attributes.price < 5", "--facet", "category")
    lines = [line.split() for line in twinset(*asked).out.splitlines() if line.strip()]
    assert lines[-4] == ["field", "value", "items"]
    assert lines[-2:] == [["category", '"sky"', "1"], ["category", "(none)", "2"]]
    assert server.filters == ["attributes.price < 5"]
    page = tmp_path / "found.html"
    assert [line.split() for line in twinset(*asked, "--html", page).out.splitlines() if line.strip()][-2:] == lines[
        -2:
    ]
    assert "attributes.price &lt; 5" in page.read_text()
    answer = json.loads(twinset(*asked, "--json").out)
    assert answer["matching_count"] == 3
    assert answer["facets"] == {
        "category": {"counts": [{"value": "sky", "count": 1}], "distinct_count": 1, "missing_count": 2}
    }


def test_recommend_writes_a_page(twinset: Twinset, photos: Path, tmp_path: Path) -> None:
    twinset("put", photos)
    page = tmp_path / "found.html"
    assert twinset("recommend", "--item", "blue", "--html", page).code == 0
    html = page.read_text()
    assert html.count("<img ") == 3
    assert "shoes/orange" in html
    outcome = twinset("recommend", "--item", "blue", "--html", tmp_path / "nowhere" / "x.html")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "can't be written: No such file" in outcome.err


def test_recommend_by_several_examples_tells_what_each_brought(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    twinset("put", photos)
    asked = ("recommend", "--like", f"@{photos / 'shoes' / 'red.png'}", "--away", "blue^0.5", "--explain")
    found = json.loads(twinset(*asked, "--json").out)
    assert found["query"] == {"examples": [{"like": "red.png", "weight": 1.0}, {"away": "blue", "weight": -0.5}]}
    assert [one["item_id"] for one in found["recommendations"]] == ["shoes/red", "shoes/orange"]
    for one in found["recommendations"]:
        assert sum(told["share"] for told in one["contributions"]) == pytest.approx(one["score"])
    lines = [line.split() for line in twinset(*asked).out.splitlines() if line.strip()]
    assert lines[0] == ["rank", "score", "share", "1", "share", "2", "id", "category", "title"]
    page = tmp_path / "found.html"
    assert twinset(*asked[:-1], "--html", page).code == 0
    html = page.read_text()
    assert (html.count('class="swatch"'), html.count('class="bar"')) == (2, 4)
    assert "AWAY, WEIGHT 0.5" in html


def test_recommend_sends_what_refines_an_answer(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    twinset("put", photos)
    twinset(
        *("recommend", "--like", "blue", "--complete", "shoes/red", "--completed-by", "shoes/orange^2", "--for", "ann"),
        *("--target", "sky", "--min-score", "-0.5", "--mmr-lambda", "0.7", "--group-by", "category"),
        *("--group-size", "2", "--max-similarity", "0.9", "-k", "20", "--page-size", "5", "--page-token", "t"),
    )
    [request] = server.recommended
    assert [(one.relation, one.weight, one.HasField("user_id")) for one in request.examples] == [
        (recommender_pb2.RELATION_SIMILAR_TO, 0, False),
        (recommender_pb2.RELATION_COMPLETES, 0, False),
        (recommender_pb2.RELATION_COMPLETED_BY, 2, False),
        (recommender_pb2.RELATION_LIKED_BY, 0, True),
    ]
    assert (list(request.target_categories), request.min_score, request.mmr_lambda) == (["sky"], -0.5, 0.7)
    assert (request.group_by.field, request.group_by.size, request.max_similarity) == ("category", 2, 0.9)
    assert (request.k, request.page_size, request.page_token) == (20, 5, "t")


def test_recommend_refuses_examples_beside_one_item(twinset: Twinset, server: FakeServer) -> None:
    outcome = twinset("recommend", "--item", "a", "--like", "b")
    assert outcome.code == 2
    assert "exactly one of --image FILE, --item ID, --all, and examples" in outcome.err
    assert "photo.jpg can't be read" in twinset("recommend", "--like", "@photo.jpg").err
    assert server.calls == []


def test_recommend_all_writes_the_neighbours_of_every_item(
    twinset: Twinset, server: FakeServer, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(60):
        (folder / f"{n:02}.png").write_bytes(picture(4 * n, 100, 9))
    twinset("put", folder)
    server.put_vectorless("zz")
    file = tmp_path / "neighbours.parquet"
    outcome = twinset("recommend", "--all", "-k", "3", "-o", file)
    assert outcome.code == 0
    assert "180 neighbours of 61 items" in outcome.out
    assert "1 item without a vector in 'visual', and so without neighbours\n" in outcome.out
    rows = pq.read_table(file).to_pylist()
    assert [row["item_id"] for row in rows] == [f"{n:02}" for n in range(60) for _ in range(3)]
    assert [row["rank"] for row in rows] == [1, 2, 3] * 60
    alone = json.loads(twinset("recommend", "--item", "07", "-k", "3", "--json").out)["recommendations"]
    assert [(row["neighbour_id"], row["score"]) for row in rows if row["item_id"] == "07"] == [
        (found["item_id"], found["score"]) for found in alone
    ]


def test_recommend_all_leaves_the_old_file_alone_when_it_fails(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    twinset("put", photos)
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "neighbours.parquet"
    file.write_text("old")
    server.recommend_refusals = [internal("req-1")]
    outcome = twinset("recommend", "--all", "-o", file)
    assert outcome.code == 2
    assert "req-1" in outcome.err
    assert [path.name for path in folder.iterdir()] == ["neighbours.parquet"]
    assert file.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere/x.parquet", "the folder {folder}/nowhere does not exist"),
        ("n.csv", "give a name that ends in .parquet"),
        ("parquet", "give a name that ends in .parquet"),
    ],
)
def test_recommend_all_refuses_a_bad_output_before_the_server_is_asked(
    twinset: Twinset, server: FakeServer, tmp_path: Path, name: str, says: str
) -> None:
    outcome = twinset("recommend", "--all", "-o", tmp_path / name)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith(f"twinset: --output {tmp_path / name}: ")
    assert says.format(folder=tmp_path) in outcome.err
    assert server.calls == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_written_is_called_by_its_own_name(twinset: Twinset, tmp_path: Path) -> None:
    # Short enough for a name, too long with what the temporary file adds.
    file = tmp_path / f"{'n' * 240}.parquet"
    outcome = twinset("recommend", "--all", "-o", file)
    assert outcome.code == 2
    assert outcome.err == f"twinset: {file} can't be written: File name too long\n"


def test_items_lists_by_id(twinset: Twinset, photos: Path) -> None:
    twinset("put", photos)
    lines = [line.split()[0] for line in twinset("items").out.splitlines() if line.strip()]
    assert lines[2:] == ["blue", "shoes/orange", "shoes/red"]
    listed = [json.loads(line) for line in twinset("items", "--json", "--limit", "2").out.splitlines()]
    assert [item["id"] for item in listed] == ["blue", "shoes/orange"]
    assert listed[0]["pictures"][0]["media_type"] == "image/webp"


def test_attributes_are_printed_in_the_order_of_their_names() -> None:
    one, other = (
        Item("a", attributes={"b": 1, "a": "x", "c": True}),
        Item("a", attributes={"c": True, "b": 1, "a": "x"}),
    )
    assert json.dumps(item_json(one)) == json.dumps(item_json(other))
    assert list(item_json(one)["attributes"]) == ["a", "b", "c"]


def test_a_title_can_not_command_the_terminal(twinset: Twinset, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,title\nblue,\x1b[31mred[bold]\n")
    twinset("put", photos, "--attributes", table)
    shown = twinset("items").out
    assert "\x1b" not in shown
    assert "�[31mred[bold]" in shown


def test_status_shows_counts_and_spaces(twinset: Twinset, server: FakeServer, photos: Path) -> None:
    twinset("put", photos)
    shown = twinset("status").out
    assert server.address in shown
    assert FINGERPRINT[:12] in shown
    told = json.loads(twinset("status", "--json").out)
    assert (told["item_count"], told["sequence"], told["server_version"]) == (3, 3, "0.1.0")
    assert told["spaces"][0]["fingerprint"] == FINGERPRINT
    assert told["spaces"][0]["metric"] == "cosine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recommend"], "exactly one of --image FILE, --item ID, --all, and examples"),
        (["recommend", "--item", "a", "--all", "-o", "x"], "exactly one of"),
        (["recommend", "--item", "a", "--json", "--html", "x"], "not both"),
        (["recommend", "--all"], "--all goes with --output"),
        (["recommend", "--item", "a", "--exact", "--recall", "0.9"], "--exact or --recall, not both"),
        (["recommend", "--item", "a", "-o", "x"], "--all goes with --output"),
        (["recommend", "--item", "a", "-k", "0"], "'-k'"),
        (["recommend", "--item", "nobody"], "no item 'nobody': `twinset items` lists the items"),
        (["recommend", "--image", "/nowhere.jpg"], "/nowhere.jpg can't be read: No such file"),
        (["put"], "put takes a FOLDER of pictures, or --vectors DIR, or both"),
        (["put", "/tmp", "--id", "sku"], "'--id'"),
        (["sing"], "No such command 'sing': see twinset --help"),
        (["recommend", "--quux"], "No such option: --quux: see twinset recommend --help"),
        (["status", "--loud"], "No such option"),
        (["status", "--server", "localhost"], "expected host:port"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_wrong(twinset: Twinset, arguments: Sequence[str], says: str) -> None:
    outcome = twinset(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("twinset: ")
    assert outcome.err.count("\n") == 1
    assert says in outcome.err
    assert outcome.out == ""


def test_an_image_that_is_none_is_refused_before_the_server_is_asked(
    twinset: Twinset, server: FakeServer, tmp_path: Path
) -> None:
    file = tmp_path / "notes.jpg"
    file.write_text("no picture")
    outcome = twinset("recommend", "--image", file)
    assert outcome.err == f"twinset: {file}: not a JPEG, PNG or WebP picture\n"
    assert server.calls == []


def test_an_image_that_the_server_refuses_is_named_by_its_file(twinset: Twinset, photos: Path, tmp_path: Path) -> None:
    twinset("put", photos)
    damaged = bytearray(picture(9, 9, 9))
    damaged[-30:-14] = bytes(16)
    file = tmp_path / "damaged.png"
    file.write_bytes(damaged)
    outcome = twinset("recommend", "--image", file)
    assert outcome.err == f"twinset: {file}: the PNG is cut off or damaged\n"
    assert outcome.code == 2


def test_an_unknown_space_comes_with_the_command_that_lists_them(twinset: Twinset, server: FakeServer) -> None:
    server.recommend_refusals = [Refusal(code_pb2.NOT_FOUND, "no space 'foo'", "SPACE_NOT_FOUND")]
    outcome = twinset("recommend", "--item", "a", "--space", "foo")
    assert outcome.err == "twinset: no space 'foo': `twinset status` lists the spaces\n"


def test_an_absent_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert app.run(["status", "--server", address]) == 2
    assert capsys.readouterr().err.startswith(f"twinset: no twinset server at {address}: start one with")


def test_the_server_may_come_from_the_environment(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSET_SERVER_ADDRESS", server.address)
    assert app.run(["status"]) == 0
    assert server.address in capsys.readouterr().out


@pytest.mark.parametrize("command", ["put", "recommend", "items", "status"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"twinset {command}" in shown


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("twinset 0.")


def test_without_its_packages_the_command_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = builtins.__import__

    def without_typer(name: str, globals: Mapping[str, object] | None = None, *rest: object) -> object:  # noqa: A002
        if name.startswith("typer"):
            raise ModuleNotFoundError("No module named 'typer'", name="typer")
        return find(name, globals, *rest)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "twinset.cli.app")
    monkeypatch.setattr(builtins, "__import__", without_typer)
    with pytest.raises(SystemExit, match="2"):
        twinset.cli.main()
    assert "pip install 'twinset[cli]'" in capsys.readouterr().err


def test_recommend_asks_as_surely_as_it_is_told(
    twinset: Twinset, server: FakeServer, photos: Path, tmp_path: Path
) -> None:
    twinset("put", photos)
    server.accuracies.clear()
    [item_id, *_] = sorted(server.items)
    found = json.loads(twinset("recommend", "--item", item_id, "--json", "--exact").out)
    assert found["method"] == "scan"
    twinset("recommend", "--item", item_id, "--recall", "0.9")
    twinset("recommend", "--all", "--exact", "-o", tmp_path / "neighbours.parquet")
    assert server.accuracies == [True, 0.9, *[True] * len(server.items)]
