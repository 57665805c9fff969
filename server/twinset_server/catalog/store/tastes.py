"""What is read of users' tastes: acts, factors, and what makes factors of acts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twinset.factors import FoldIn
from twinset_server.catalog.store import generations
from twinset_server.domain import Act, Float32Array, FoldInRows, LikeCounts, UserTaste
from twinset_server.errors import GenerationNotFound

_ACTS = "SELECT item, kind, weight, seq FROM interactions WHERE user = ? ORDER BY seq LIMIT ?"
_FACTORS = """
SELECT value FROM factor_users JOIN factor_generations USING (space) WHERE number = ? AND id = ?
"""
_GENERATION = "SELECT space, temperature, start, liked_from, through FROM factor_generations WHERE number = ?"
_FOLD_IN = """
SELECT id, liked, known FROM factor_items WHERE space = ? AND id IN (SELECT value FROM json_each(?))
"""
# What a like is, is said once more by `Act.is_like`.
_LIKES = """
SELECT item, count(*) FROM interactions
WHERE seq > ?1 AND kind <> 'dislike' AND (?2 IS NULL OR weight >= ?2) GROUP BY item
"""


_FEW = 128
"""So many acts of a user are read on the event loop, in a fifth of a millisecond."""

_ALL = -1


class _Header(NamedTuple):
    space: int
    temperature: float
    start: bytes
    liked_from: float | None
    through: int


def taste(connection: sqlite3.Connection, user_id: str, generation: int | None) -> UserTaste:
    """Return what is stored of a user's taste, their factors those of a generation; nothing of an unknown user.

    Raises:
        GenerationNotFound: the generation is gone.
    """
    connection.execute("BEGIN")
    try:
        acts = _acts(connection, user_id, _ALL)
        if generation is None:
            return UserTaste(None, acts, None)
        header, factors = _header(connection, generation), _factors(connection, generation, user_id)
        item_ids = list({act.item_id for act in acts}) if _needs_rows(factors, acts, header) else []
        return UserTaste(factors, acts, _rows(connection, header, item_ids))
    finally:
        connection.execute("COMMIT")


def taste_briefly(connection: sqlite3.Connection, user_id: str, generation: int | None) -> UserTaste | None:
    """Return what `taste` does where that is a matter of a few rows, None where it isn't; raises like it."""
    connection.execute("BEGIN")
    try:
        acts = _acts(connection, user_id, _FEW + 1)
        if len(acts) > _FEW:
            return None
        if generation is None:
            return UserTaste(None, acts, None)
        header, factors = _header(connection, generation), _factors(connection, generation, user_id)
        if acts and _needs_rows(factors, acts, header):
            return None
        return UserTaste(factors, acts, _rows(connection, header, ()))
    finally:
        connection.execute("COMMIT")


def fold_in(connection: sqlite3.Connection, generation: int, item_ids: Sequence[str]) -> FoldInRows:
    """Return what makes factors of acts on these items; those without factors are left out.

    Raises:
        GenerationNotFound: the generation is gone.
    """
    connection.execute("BEGIN")
    try:
        return _rows(connection, _header(connection, generation), item_ids)
    finally:
        connection.execute("COMMIT")


def _acts(connection: sqlite3.Connection, user_id: str, most: int) -> list[Act]:
    return [Act(*row) for row in connection.execute(_ACTS, (user_id, most))]


def _factors(connection: sqlite3.Connection, generation: int, user_id: str) -> Float32Array | None:
    found = connection.execute(_FACTORS, (generation, user_id)).fetchone()
    return None if found is None else np.frombuffer(found[0], "<f4").astype(np.float32)


def _needs_rows(factors: Float32Array | None, acts: Sequence[Act], header: _Header) -> bool:
    """Return whether the user's factors are to be made of the acts."""
    return factors is None or any(act.sequence > header.through for act in acts)


def _header(connection: sqlite3.Connection, generation: int) -> _Header:
    found = connection.execute(_GENERATION, (generation,)).fetchone()
    if found is None:
        raise GenerationNotFound(str(generation), [one.number for one in generations.listed(connection)])
    return _Header(*found)


def _rows(connection: sqlite3.Connection, header: _Header, item_ids: Sequence[str]) -> FoldInRows:
    rows = connection.execute(_FOLD_IN, (header.space, json.dumps(list(item_ids)))).fetchall() if item_ids else []
    start = np.frombuffer(header.start, "<f4").astype(np.float32)
    liked, known = (
        np.frombuffer(b"".join(row[column] for row in rows), "<f4").reshape(-1, len(start)) for column in (1, 2)
    )
    places = {item_id: place for place, (item_id, _, _) in enumerate(rows)}
    return FoldInRows(FoldIn(liked, known, start, header.temperature), places, header.liked_from, header.through)


def likes(connection: sqlite3.Connection, after: int, liked_from: float | None) -> LikeCounts:
    """Return how many likes each item got by changes above `after`, and the last change that is counted."""
    connection.execute("BEGIN")
    try:
        counts = dict(connection.execute(_LIKES, (after, liked_from)).fetchall())
        (sequence,) = connection.execute("SELECT value FROM meta WHERE name = 'sequence'").fetchone()
    finally:
        connection.execute("COMMIT")
    return LikeCounts(counts, sequence)
