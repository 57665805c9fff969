"""Vectors of those who search a space that holds none of them: the other side of a pair, and users.

They lie elsewhere than what they look for, so how far a search must go is measured with a sample of them.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET
from twinset_server.domain import Float32Array, Space

_OTHER_SIDE = {PAIR_SOURCE: PAIR_TARGET, PAIR_TARGET: PAIR_SOURCE}

_OF_ITEM = "SELECT value FROM vectors WHERE item = ? AND space = ?"
# Each generation of models has sides of its own; the last that a space is of decides.
_ROLE = "SELECT generation, name FROM model_spaces WHERE space = ? ORDER BY generation DESC LIMIT 1"
_OF_ROLE = "SELECT space FROM model_spaces WHERE generation = ? AND name = ?"
_OF_NAME = "SELECT key FROM spaces WHERE name = ?"

# Every so many of them in the order of their ids: one walk through the generation, and the same of the same.
_OF_FACTORS = """
SELECT value FROM (
    SELECT value, row_number() OVER (ORDER BY id) AS number FROM factor_users WHERE space = :space
) WHERE number % max(1, (SELECT count(*) FROM factor_users WHERE space = :space) / :most) = 0 LIMIT :most
"""
_OF_USER = "SELECT value FROM user_vectors WHERE user = ? AND space = ?"
_LAST_USER = "SELECT coalesce(max(key), 0) FROM users"
_LOOKED_AT = 4
"""How many times as many users as are wanted are looked at: not each has a vector in the space, or is still there."""


def sampled(connection: sqlite3.Connection, key: int, space: Space, items: Sequence[int], most: int) -> Float32Array:
    """Return `[A, D]` float32, at most `most` vectors of those who search the space; none where nobody else does.

    Args:
        connection: reads the tables.
        key: the space's.
        space: the space.
        items: keys of items drawn at random, more of them than `most` where there are as many: where the other side of
            pairs asks, it is that of these items.
        most: how many vectors at most.
    """
    other = _other_side(connection, key, space)
    if other is not None:
        found = _of_each(connection, _OF_ITEM, [(item, other) for item in items])
    else:
        found = itertools.chain(
            connection.execute(_OF_FACTORS, {"space": key, "most": most}),
            _of_each(connection, _OF_USER, [(user, key) for user in _users(connection, _LOOKED_AT * most)]),
        )
    values = [value for (value,) in itertools.islice(found, most) if len(value) == 4 * space.dimension]
    return np.frombuffer(b"".join(values), "<f4").reshape(-1, space.dimension).astype(np.float32, copy=False)


def _other_side(connection: sqlite3.Connection, key: int, space: Space) -> int | None:
    """Return the key of the space of the other side of pairs; None where this is none of either."""
    generation, name = connection.execute(_ROLE, (key,)).fetchone() or (None, space.name)
    if name not in _OTHER_SIDE:
        return None
    wanted = (_OTHER_SIDE[name],) if generation is None else (generation, _OTHER_SIDE[name])
    found = connection.execute(_OF_NAME if generation is None else _OF_ROLE, wanted).fetchone()
    return None if found is None else int(found[0])


def _of_each(
    connection: sqlite3.Connection, statement: str, parameters: Iterable[tuple[int, int]]
) -> Iterator[tuple[bytes]]:
    for one in parameters:
        yield from connection.execute(statement, one)


def _users(connection: sqlite3.Connection, count: int) -> list[int]:
    """Return keys drawn at random, of which some may be no user's any more."""
    (last,) = connection.execute(_LAST_USER).fetchone()
    drawn: list[int] = (1 + np.random.default_rng(0).permutation(last)[:count]).tolist()
    return drawn
