"""Vectors of those who ask are told where they are of another kind than what is asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from fakes.factors import each, factors
from fakes.items import put, vectored, writable
from twinset.contract import Metric
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_server.catalog import Folder, SqliteCatalog, open_alone
from twinset_server.catalog.store.generations import space_name
from twinset_server.catalog.store.log import ChangeLog
from twinset_server.config import StoreSettings
from twinset_server.domain import Float32Array, ItemVector, Space, WritableUser

SHAPE = Space("shape", 2, Metric.EUCLIDEAN, "b" * 64)
SIDES = [Space(name, 2, Metric.EUCLIDEAN, name[5] * 64) for name in (PAIR_SOURCE, PAIR_TARGET)]


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[SqliteCatalog]:
    async with open_alone(StoreSettings(path=tmp_path), {}, [SHAPE, *SIDES]) as opened:
        yield opened


def asking(tmp_path: Path, space: str, items: list[int], most: int = 100) -> list[list[float]]:
    """Return what asks a space, sorted."""
    log = ChangeLog(Folder(tmp_path).database)
    with log.snapshot() as snapshot:
        found = snapshot.askers(space, items, most)
    log.close()
    assert found.dtype == np.float32
    return sorted(found.tolist())


def at(x: float) -> Float32Array:
    return np.array([x, 0], np.float32)


async def test_a_side_of_pairs_is_asked_by_the_other_side_of_the_same_items(
    catalog: SqliteCatalog, tmp_path: Path
) -> None:
    both = [ItemVector(PAIR_SOURCE, "", at(1)), ItemVector(PAIR_TARGET, "", at(2))]
    await put(catalog, [writable("a", both), writable("b", [ItemVector(PAIR_SOURCE, "", at(3))]), writable("c")])
    assert asking(tmp_path, PAIR_TARGET, [1, 2, 3]) == [[1, 0], [3, 0]]
    assert asking(tmp_path, PAIR_TARGET, [2]) == [[3, 0]]
    assert asking(tmp_path, PAIR_SOURCE, [1, 2, 3]) == [[2, 0]]
    assert len(asking(tmp_path, PAIR_TARGET, [1, 2, 3], most=1)) == 1


async def test_factors_of_items_are_asked_by_those_of_users(catalog: SqliteCatalog, tmp_path: Path) -> None:
    header, items, users = factors(users=7)
    generation = await catalog.import_factors(header, each(items, users))
    name = space_name(generation.number)
    assert asking(tmp_path, name, [1]) == sorted(users.factors.tolist())
    some = asking(tmp_path, name, [1], most=3)
    assert len(some) == 3
    assert all(one in users.factors.tolist() for one in some)


async def test_a_space_is_asked_by_users_who_brought_vectors_of_it(catalog: SqliteCatalog, tmp_path: Path) -> None:
    await put(catalog, [vectored("a", at(1), space="shape")])
    for number in range(3):
        vectors = [ItemVector("shape", "", at(10 + number))] if number else []
        await catalog.write([WritableUser(f"u{number}", {}, vectors)])
    assert asking(tmp_path, "shape", [1]) == [[11, 0], [12, 0]]


async def test_a_space_whose_own_vectors_ask_tells_none(catalog: SqliteCatalog, tmp_path: Path) -> None:
    await put(catalog, [vectored("a", at(1), space="shape")])
    for space in ("shape", PAIR_TARGET):
        assert asking(tmp_path, space, [1]) == []
