from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes.command_line import Twinset, picture
from fakes.server import DIMENSION, FINGERPRINT, FakeServer, unavailable
from fakes.vectors import unit, write_manifest, write_vectors
from twinset import Client
from twinset.cli.put_vectors import VectorPut, space_for
from twinset.vectors import Format, open_vectors

EVERY: tuple[Format, ...] = ("npy", "parquet", "text")
RED, ORANGE, BLUE = unit(1), unit(1, 0.5), unit(0, 0, 1)


def stored(server: FakeServer, item_id: str) -> list[float]:
    (vector,) = server.items[item_id].vectors
    assert (vector.space, vector.fingerprint) == ("visual", FINGERPRINT)
    return list(np.frombuffer(vector.values, "<f4"))


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Vectors for the items of `photos`, in the format npy."""
    folder = tmp_path / "vectors"
    write_vectors(folder, "npy", {"shoes/red": RED, "shoes/orange": ORANGE, "blue": BLUE})
    write_manifest(folder, "npy", 3)
    return folder


@pytest.mark.parametrize("kind", EVERY)
def test_vectors_of_every_format_become_items_of_the_same_ids(
    twinset: Twinset, server: FakeServer, tmp_path: Path, kind: Format
) -> None:
    suffix = ".png" if kind == "text" else ""
    write_vectors(tmp_path / "v", kind, {f"shoes/red{suffix}": RED, f"blue{suffix}": BLUE})
    write_manifest(tmp_path / "v", kind, 2)
    outcome = twinset("put", "--vectors", tmp_path / "v")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("2 vectors: 2 put, 0 unchanged, 0 failed")
    assert sorted(server.items) == ["blue", "shoes/red"]
    assert stored(server, "shoes/red") == pytest.approx(RED)
    assert stored(server, "blue") == pytest.approx(BLUE)


@pytest.mark.parametrize(
    ("rule", "ids"), [("path", ["shoes/a.b", "x"]), ("name", ["a.b.png", "x"]), ("stem", ["a.b", "x"])]
)
def test_the_id_rule_turns_file_names_of_the_text_pair_into_ids(
    twinset: Twinset, server: FakeServer, tmp_path: Path, rule: str, ids: list[str]
) -> None:
    write_vectors(tmp_path / "v", "text", {"shoes/a.b.png": RED, "x": BLUE})
    assert twinset("put", "--vectors", tmp_path / "v", "--fingerprint", FINGERPRINT, "--id", rule).code == 0
    assert sorted(server.items) == ids


def test_vectors_come_together_with_pictures_and_stand_in_for_their_embedding(
    twinset: Twinset, server: FakeServer, photos: Path, vectors: Path
) -> None:
    (photos / "green.png").write_bytes(picture(0, 250, 0))
    (photos / "shoes" / "orange.JPG").unlink()
    outcome = twinset("put", photos, "--vectors", vectors)
    assert outcome.code == 0, outcome.err
    assert "1 vector without a picture passed over" in outcome.out
    assert "1 picture without a vector here: embedded by the server" in outcome.out
    assert sorted(server.items) == ["blue", "green", "shoes/red"]
    assert stored(server, "shoes/red") == pytest.approx(RED)
    assert [len(server.items[item_id].pictures) for item_id in ("shoes/red", "green")] == [1, 1]
    assert not server.items["green"].vectors


def test_a_second_run_puts_only_what_changed(twinset: Twinset, server: FakeServer, photos: Path, vectors: Path) -> None:
    for arguments in (["--vectors", vectors], [photos, "--vectors", vectors]):
        assert "3 put" in twinset("put", *arguments).out
        assert "0 put, 3 unchanged" in twinset("put", *arguments).out
    write_vectors(vectors, "npy", {"shoes/red": RED, "shoes/orange": unit(1, 0.51), "blue": BLUE})
    assert "1 put, 2 unchanged" in twinset("put", photos, "--vectors", vectors).out


def test_items_that_lose_their_facts_are_counted(twinset: Twinset, vectors: Path, tmp_path: Path) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,category\nblue,hats\n")
    assert "lost" not in twinset("put", "--vectors", vectors, "--attributes", table).out
    lost = "1 item lost all facts (title, uri, category, attributes): give them with --attributes FILE.csv"
    assert lost in twinset("put", "--vectors", vectors).out.splitlines()
    assert "lost" not in twinset("put", "--vectors", vectors).out


def test_pictures_in_the_catalogue_are_not_dropped_by_vectors_alone(
    twinset: Twinset, server: FakeServer, photos: Path, vectors: Path
) -> None:
    twinset("put", photos)
    outcome = twinset("put", "--vectors", vectors)
    assert outcome.code == 1
    assert "(blue): the item has pictures, which would be lost: give their folder too" in outcome.err
    assert len(server.items["blue"].pictures) == 1


@pytest.mark.parametrize("kind", EVERY)
def test_bad_rows_are_listed_with_their_reason_and_the_rest_stored(
    twinset: Twinset, server: FakeServer, tmp_path: Path, kind: Format
) -> None:
    rows = {"good": RED, "nan": [float("nan"), *RED[1:]], "zero": [0.0] * DIMENSION}
    if kind != "npy":
        rows["short"] = RED[:5]
    write_vectors(tmp_path / "v", kind, rows)
    outcome = twinset("put", "--vectors", tmp_path / "v", "--fingerprint", FINGERPRINT)
    assert outcome.code == 1
    assert list(server.items) == ["good"]
    for item_id, reason in (
        ("nan", "component 0 is not a finite number"),
        ("zero", "is zero, and has no direction"),
        ("short", f"has 5 components, the space 'visual' takes {DIMENSION}"),
    ):
        assert (f"({item_id}): {reason}" in outcome.err) == (item_id in rows)


def test_an_id_that_stands_twice_is_listed_once(twinset: Twinset, server: FakeServer, vectors: Path) -> None:
    (vectors / "ids.txt").write_text("blue\nblue\nred\n")
    outcome = twinset("put", "--vectors", vectors)
    assert outcome.code == 1
    assert "row 1 (blue): an earlier row has the same id" in outcome.err
    assert stored(server, "blue") == pytest.approx(RED)


def test_vectors_of_unknown_origin_need_a_fingerprint(twinset: Twinset, server: FakeServer, vectors: Path) -> None:
    (vectors / "manifest.json").unlink()
    outcome = twinset("put", "--vectors", vectors)
    assert outcome.code == 2
    assert f"say so with --fingerprint; the space 'visual' takes those of {FINGERPRINT}" in outcome.err
    assert server.items == {}
    assert twinset("put", "--vectors", vectors, "--fingerprint", FINGERPRINT).code == 0


def test_vectors_of_another_model_are_refused_with_both_named(
    twinset: Twinset, server: FakeServer, vectors: Path
) -> None:
    write_manifest(vectors, "npy", 3, fingerprint="f" * 64)
    outcome = twinset("put", "--vectors", vectors)
    assert outcome.code == 2
    assert f"are of {'f' * 64}, the space 'visual' takes those of {FINGERPRINT}" in outcome.err
    contradicted = twinset("put", "--vectors", vectors, "--fingerprint", FINGERPRINT)
    assert contradicted.code == 2
    assert "leave --fingerprint away" in contradicted.err
    assert server.items == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "own"], "the server has no space 'own': choose --space among visual"),
        (["--id", "stem"], "were made by --id path"),
    ],
)
def test_a_call_that_cant_work_is_refused_before_anything_is_put(
    twinset: Twinset, server: FakeServer, vectors: Path, arguments: list[str], message: str
) -> None:
    outcome = twinset("put", "--vectors", vectors, *arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert message in outcome.err
    assert server.items == {}


@pytest.mark.parametrize("with_pictures", [True, False])
def test_a_table_that_names_no_item_is_refused_before_anything_is_put(
    twinset: Twinset, server: FakeServer, photos: Path, vectors: Path, tmp_path: Path, with_pictures: bool
) -> None:
    table = tmp_path / "facts.csv"
    table.write_text("id,category\nblue.webp,hats\n")
    outcome = twinset("put", *([photos] if with_pictures else []), "--vectors", vectors, "--attributes", table)
    assert (outcome.code, server.items) == (2, {})
    source, like = (photos, "blue") if with_pictures else (vectors, "shoes/red")
    assert f"{table} names no item of {source}: its ids are like 'blue.webp', those of {source} like {like!r}" in (
        outcome.err
    )


def test_what_the_server_could_not_take_is_put_again(server: FakeServer, vectors: Path) -> None:
    server.put_refusals = {"blue": [unavailable(3), unavailable(3)]}
    waits: list[float] = []
    with Client(server.address) as client:
        folder = open_vectors(vectors, space="visual", id_rule=None)
        space, fingerprint = space_for(client, folder, "visual", None)
        run = VectorPut(client, folder, space, fingerprint, None, {}, progress=lambda account: None, sleep=waits.append)
        run.run()
    assert (run.account.put, run.account.failed, waits) == (3, {}, [3.0, 3.0])
