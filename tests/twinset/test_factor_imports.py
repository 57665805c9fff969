"""Factors brought by a client, against the real gRPC server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes.factors import written
from fakes.service import FakeService
from twinset import Client, Example, FailedPrecondition, InvalidArgument, Item, NotFound, User, Vector
from twinset.cli.app import run
from twinset.factors import open_factors


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as service:
        yield service


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client(service.address, timeout_s=10) as client:
        yield client


def test_a_folder_fills_taste_and_the_one_before_comes_back(client: Client, tmp_path: Path) -> None:
    manifests = [written(tmp_path / str(seed), seed, items=5000, liked_from=4.0) for seed in range(2)]
    list(client.put_items([Item("i0"), Item("i4999")]))
    first = client.import_factors(open_factors(tmp_path / "0"), interactions_through=2)
    assert (
        first.fingerprint,
        first.items,
        first.users,
        first.liked_from,
        first.interactions_through,
        first.active,
    ) == (
        manifests[0].fingerprint,
        5000,
        4,
        4.0,
        2,
        True,
    )
    second = client.import_factors(open_factors(tmp_path / "1"))
    spaces = {space.name: space for space in client.catalog().spaces}
    assert (spaces["taste"].fingerprint, spaces["taste"].vector_count) == (manifests[1].fingerprint, 2)
    assert [one.number for one in client.factor_generations()] == [second.number, first.number]
    assert client.activate_factors().number == first.number
    with pytest.raises(NotFound):
        client.activate_factors(99)


def test_items_are_recommended_in_taste_by_a_vector_of_its_fingerprint_alone(client: Client, tmp_path: Path) -> None:
    manifest = written(tmp_path)
    list(client.put_items([Item("i0"), Item("i1")]))
    folder = open_factors(tmp_path)
    client.import_factors(folder)
    user = np.array(folder.users.values[0])
    found = client.recommend(vector=Vector(user, "taste", manifest.fingerprint))
    scores = dict(zip(("i0", "i1"), folder.items.values[:2] @ user, strict=True))
    assert {one.item.id: pytest.approx(one.score, rel=1e-4) for one in found} == scores
    with pytest.raises(FailedPrecondition, match=manifest.fingerprint) as caught:
        client.recommend(vector=Vector(user, "taste", "f" * 64))
    assert "f" * 64 in caught.value.message


def test_rows_that_dont_fit_together_are_refused(client: Client, tmp_path: Path) -> None:
    written(tmp_path)
    folder = open_factors(tmp_path)
    with pytest.raises(InvalidArgument, match="item_count"):
        client.import_factors(replace(folder, manifest=replace(folder.manifest, items=7)))
    with pytest.raises(InvalidArgument, match="fingerprint"):
        client.import_factors(replace(folder, manifest=replace(folder.manifest, fingerprint="none")))
    assert client.factor_generations() == []


def test_the_commands_import_list_and_go_back(
    service: FakeService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        written(tmp_path / str(seed), seed)
        assert run(["--server", service.address, "import-factors", str(tmp_path / str(seed))]) == 0
        assert capsys.readouterr().out.startswith(f"generation {seed + 1}, factors ")
    assert run(["--server", service.address, "factors"]) == 0
    assert [line.rsplit(", ", 1)[1] for line in capsys.readouterr().out.splitlines()] == ["serves", "kept"]
    assert run(["--server", service.address, "activate-factors"]) == 0
    assert capsys.readouterr().out.startswith("generation 1, factors ")
    (tmp_path / "0" / "items.npy").write_bytes((tmp_path / "1" / "items.npy").read_bytes())
    assert run(["--server", service.address, "import-factors", str(tmp_path / "0")]) != 0
    assert "copy the folder again" in capsys.readouterr().err


def test_an_imported_user_is_an_example_of_what_they_like(client: Client, tmp_path: Path) -> None:
    written(tmp_path)
    list(client.put_items([Item(f"i{place}") for place in range(6)]))
    client.import_factors(open_factors(tmp_path))
    liked = client.recommend(examples=[Example(user="u1")], space="taste")
    assert [one.item.id for one in liked] == [one.item.id for one in client.rank_for_user("u1")]
    with pytest.raises(NotFound, match="nobody"):
        client.recommend(examples=[Example(user="nobody")], space="taste")
    list(client.put_users([User("without")]))
    with pytest.raises(FailedPrecondition, match="generation 1"):
        client.recommend(examples=[Example(user="without")], space="taste")
