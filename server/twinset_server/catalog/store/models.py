"""Generations of models in the tables: declared, filled beside what serves, switched by one row, forgotten in slices.

A generation's spaces are rows of `spaces` that callers see under their usual names while it is active. A space whose
fingerprint two generations have is one row for both: nothing of it is made anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from twinset.contract import Metric
from twinset_server.catalog.store.spaces import check_no_factors
from twinset_server.domain import Lost, ModelGeneration, ModelState, PendingItem, Recomputed, Space, Switched
from twinset_server.errors import ModelNotFilled, SpaceConflict, VectorsLost

KEPT = 1
"""So many generations beside the active one are kept, to go back to."""

NAMED = 100
"""Ids of items without vectors that are told, at most."""

_SLICE = 1000
"""Rows deleted in one transaction, while other writers wait."""

_LIST = """
SELECT number, model, state, filled FROM model_generations WHERE state <> 'gone'
ORDER BY CASE state WHEN 'active' THEN 0 WHEN 'kept' THEN 1 ELSE 2 END, switched DESC, number
"""
_SPACES = """
SELECT generation, model_spaces.name, space, fingerprint,
(SELECT count(*) FROM model_spaces AS others WHERE others.space = model_spaces.space) = 1
FROM model_spaces JOIN model_generations ON number = generation AND state <> 'gone' JOIN spaces ON key = space
ORDER BY generation, model_spaces.name
"""
_TO_FILL = """
SELECT name, space FROM model_spaces WHERE generation = ? AND space NOT IN
(SELECT space FROM model_spaces JOIN model_generations ON number = generation WHERE state = 'active') ORDER BY name
"""
_PENDING = """
SELECT key, id, seq, iif(probability IS NULL, category, '')
FROM items LEFT JOIN predicted_categories ON item = key
WHERE seq > (SELECT filled FROM model_generations WHERE number = ?) ORDER BY seq LIMIT ?
"""
_PENDING_COUNT = "SELECT count(*) FROM items WHERE seq > ?"
_PICTURES = """
SELECT item, id FROM pictures WHERE item IN (SELECT value FROM json_each(?)) AND content IS NOT NULL
ORDER BY item, position
"""
# A picture counts as made where each of the spaces has its vector.
_MADE = """
SELECT item, picture FROM vectors
WHERE item IN (SELECT value FROM json_each(:items)) AND space IN (SELECT value FROM json_each(:spaces))
GROUP BY item, picture HAVING count(DISTINCT space) = :count
"""
# Spaces that a switch replaces, each with what replaces it, if anything does.
_REPLACED = """
SELECT old.space, new.space FROM model_spaces AS old
JOIN model_generations ON number = old.generation AND state = 'active'
LEFT JOIN model_spaces AS new ON new.name = old.name AND new.generation = ?
WHERE new.space IS NOT old.space AND new.space IS NOT NULL
"""
_WITHOUT = """
SELECT DISTINCT items.id FROM vectors AS old JOIN items ON items.key = old.item
WHERE old.space = :old AND NOT EXISTS (SELECT 1 FROM vectors AS new WHERE new.item = old.item AND new.space = :new)
"""
# What no picture brings back: a put vector has no picture, and of some the content isn't kept.
_UNMADE = """
SELECT DISTINCT items.id FROM vectors AS old JOIN items ON items.key = old.item
WHERE old.space = :old AND NOT EXISTS (SELECT 1 FROM vectors AS new WHERE new.item = old.item AND new.space = :new)
AND NOT EXISTS (SELECT 1 FROM pictures WHERE pictures.item = old.item AND content IS NOT NULL)
"""
_USERS = "SELECT count(DISTINCT user) FROM user_vectors WHERE space = ?"
_ADVANCE = "UPDATE meta SET value = value + 1 WHERE name = 'sequence' RETURNING value"


def shown(connection: sqlite3.Connection) -> dict[str, Space]:
    """Return the spaces that callers see, but those of factors, by name."""
    return {space.name: space for _, space in stored_and_shown(connection)}


def stored_and_shown(connection: sqlite3.Connection) -> list[tuple[str, Space]]:
    """Return the stored name of each space that callers see, and the space as they see it, by name."""
    found = connection.execute(
        "SELECT stored, name, dimension, metric, fingerprint, model, switched FROM shown_spaces ORDER BY name"
    )
    return [
        (stored, Space(name, dimension, Metric(metric), fingerprint, model, switched=switched))
        for stored, name, dimension, metric, fingerprint, model, switched in found
    ]


def names(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Return the models of all generations, that of the active one first; each once."""
    return tuple(dict.fromkeys(model for _, model, _, _ in connection.execute(_LIST)))


def ever(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the models of all generations there ever were."""
    return frozenset(model for (model,) in connection.execute("SELECT model FROM model_generations"))


def listed(connection: sqlite3.Connection) -> list[ModelGeneration]:
    """Return the generations: the active one, those to go back to, those that are being filled."""
    fingerprints: dict[int, dict[str, str]] = {}
    own: dict[int, set[str]] = {}
    for generation, name, _, fingerprint, alone in connection.execute(_SPACES):
        fingerprints.setdefault(generation, {})[name] = fingerprint
        own.setdefault(generation, set()).update({name} if alone else ())
    return [
        ModelGeneration(
            number,
            model,
            ModelState(state),
            fingerprints.get(number, {}),
            frozenset(own.get(number, ())),
            connection.execute(_PENDING_COUNT, (filled,)).fetchone()[0] if to_fill(connection, number) else 0,
        )
        for number, model, state, filled in connection.execute(_LIST).fetchall()
    ]


def active(connection: sqlite3.Connection) -> int | None:
    """Return the number of the generation that serves; None where no model ever filled a space."""
    found = connection.execute("SELECT number FROM model_generations WHERE state = 'active'").fetchone()
    return None if found is None else int(found[0])


def declare(connection: sqlite3.Connection, model: str, wanted: Sequence[Space], path: str) -> None:
    """Let `model` be the one that serves, within a transaction; spaces that are new to the catalogue are added.

    Raises:
        SpaceConflict: a space of one of the names is there, with another dimension, metric or fingerprint.
    """
    number = active(connection)
    if number is None:
        number = _adopt(connection, model)
    present = {
        name: (key, dimension, metric, fingerprint)
        for name, key, dimension, metric, fingerprint in connection.execute(
            "SELECT name, key, dimension, metric, fingerprint FROM shown_spaces"
        )
    }
    for space in wanted:
        check_no_factors(connection, space, path)
        if space.name not in present:
            _add_space(connection, number, space)
            continue
        key, *stored = present[space.name]
        if stored != [space.dimension, space.metric.value, space.fingerprint]:
            raise SpaceConflict(
                f"the catalogue in {path} holds space {space.name!r} with dimension {stored[0]}, metric {stored[1]}, "
                f"fingerprint {stored[2]}; the server was started for dimension {space.dimension}, metric "
                f"{space.metric.value}, fingerprint {space.fingerprint}: start it with what filled the space, "
                "change models with `twinset-server reembed`, or set store.path to a new folder and put the items again"
            )
        connection.execute("INSERT OR IGNORE INTO model_spaces VALUES (?, ?, ?)", (number, space.name, key))
    connection.execute("UPDATE model_generations SET model = ? WHERE number = ?", (model, number))


def adopt(connection: sqlite3.Connection) -> None:
    """Make the first generation of the spaces that a model fills, in a catalogue older than generations."""
    if active(connection) is None and connection.execute("SELECT 1 FROM spaces WHERE model IS NOT NULL").fetchone():
        _adopt(connection, "")


def begin(connection: sqlite3.Connection, model: str, wanted: Sequence[Space]) -> ModelGeneration:
    """Return the generation of a model that is to serve, within a transaction: one that is there, or a new one.

    One that was begun before goes on where it is; another that was is given up.
    """
    fingerprints = {space.name: space.fingerprint for space in wanted}
    current = active(connection)
    if current is None:
        current = _adopt(connection, "")
    for one in listed(connection):
        if one.fingerprints == fingerprints and (one.model == model or one.state is ModelState.KEPT):
            connection.execute("UPDATE model_generations SET model = ? WHERE number = ?", (model, one.number))
            return _listed(connection, one.number)
    keys = {(name, fingerprint): key for _, name, key, fingerprint, _ in connection.execute(_SPACES).fetchall()}
    [(number,)] = connection.execute(
        "INSERT INTO model_generations (model, state, filled, switched) VALUES (?, 'filling', 0, 0) RETURNING number",
        (model,),
    ).fetchall()
    for space in wanted:
        key = keys.get((space.name, space.fingerprint))
        if key is None:
            _add_space(connection, number, space)
        else:
            connection.execute("INSERT INTO model_spaces VALUES (?, ?, ?)", (number, space.name, key))
    connection.execute(_ADVANCE).fetchall()  # readers shall know of it
    return _listed(connection, number)


def pending(connection: sqlite3.Connection, number: int, limit: int) -> list[PendingItem]:
    """Return the first items that have changed since a generation's vectors were made, in the order of changes."""
    rows = connection.execute(_PENDING, (number, limit)).fetchall()
    keys = json.dumps([row[0] for row in rows])
    pictures: dict[int, list[str]] = {}
    for item, picture in connection.execute(_PICTURES, (keys,)):
        pictures.setdefault(item, []).append(picture)
    spaces = list(_spaces_to_fill(connection, number).values())
    made: dict[int, set[str]] = {}
    found = {"items": keys, "spaces": json.dumps(spaces), "count": len(spaces)}
    for item, picture in connection.execute(_MADE, found):
        made.setdefault(item, set()).add(picture)
    return [
        PendingItem(key, item_id, seq, category, pictures.get(key, ()), frozenset(made.get(key, ())))
        for key, item_id, seq, category in rows
    ]


def to_fill(connection: sqlite3.Connection, number: int) -> list[str]:
    """Return the spaces of a generation that the active one doesn't fill as well, by the names that callers know."""
    return list(_spaces_to_fill(connection, number))


def add(connection: sqlite3.Connection, number: int, made: Sequence[Recomputed]) -> None:
    """Put vectors of items into a generation's spaces, within a transaction, and take note of how far it is.

    Items must come as `pending` gives them. One that has changed meanwhile is passed over: it is pending again.
    """
    if not made:
        return
    spaces = _spaces_to_fill(connection, number)
    (sequence,) = connection.execute(_ADVANCE).fetchall()[0]
    for one in made:
        found = connection.execute("SELECT seq FROM items WHERE key = ?", (one.item.key,)).fetchone()
        if found is None or found[0] != one.item.sequence:
            continue
        brought = {(spaces[vector.space], vector.picture_id) for vector in one.vectors}
        old = connection.execute("SELECT key, space, picture FROM vectors WHERE item = ?", (one.item.key,)).fetchall()
        ended = [(sequence, space, key) for key, space, picture in old if (space, picture) in brought]
        connection.executemany("INSERT INTO dead VALUES (?, ?, ?)", ended)
        connection.executemany("DELETE FROM vectors WHERE key = ?", [(key,) for _, _, key in ended])
        connection.executemany(
            "INSERT INTO vectors (item, space, picture, value) VALUES (?, ?, ?, ?)",
            [(one.item.key, spaces[v.space], v.picture_id, v.values.tobytes()) for v in one.vectors],
        )
    connection.execute("UPDATE model_generations SET filled = ? WHERE number = ?", (made[-1].item.sequence, number))


def lost(connection: sqlite3.Connection, number: int, *, unmade: bool) -> Lost:
    """Return what would have no vector any more if a generation served.

    With `unmade` only what no picture brings back: others will get theirs.
    """
    item_ids: set[str] = set()
    users = 0
    for old, new in connection.execute(_REPLACED, (number,)).fetchall():
        statement = _UNMADE if unmade else _WITHOUT
        item_ids.update(item_id for (item_id,) in connection.execute(statement, {"old": old, "new": new}))
        users += connection.execute(_USERS, (old,)).fetchone()[0]
    return Lost(sorted(item_ids)[:NAMED], len(item_ids), users)


def activate(connection: sqlite3.Connection, number: int, *, drop: bool) -> Switched:
    """Let a generation serve, within a transaction; readers see it with the next sequence.

    Raises:
        ModelNotFilled: items changed since its vectors were made.
        VectorsLost: something would have no vector any more, and `drop` isn't set.
    """
    wanted = _listed(connection, number)
    former = next((one.model for one in listed(connection) if one.state is ModelState.ACTIVE), "")
    if wanted.pending:
        raise ModelNotFilled(wanted.model, f"{wanted.pending} items have changed since its vectors were made")
    gone = lost(connection, number, unmade=False)
    if gone and not drop:
        raise VectorsLost(wanted.model, gone.item_ids, gone.items, gone.users)
    (sequence,) = connection.execute(_ADVANCE).fetchall()[0]
    if wanted.state is not ModelState.ACTIVE:
        # All that was committed so far is in the spaces of the one that served.
        connection.execute(
            "UPDATE model_generations SET state = 'kept', filled = ? WHERE state = 'active'", (sequence,)
        )
        connection.execute(
            "UPDATE model_generations SET state = 'active', switched = ? WHERE number = ?", (sequence, number)
        )
    return Switched(_listed(connection, number), former, gone, sequence)


def former(connection: sqlite3.Connection) -> ModelGeneration | None:
    """Return the generation that served before the active one; None where none is kept."""
    return next((one for one in listed(connection) if one.state is ModelState.KEPT), None)


def superfluous(connection: sqlite3.Connection, *, filling: int | None) -> list[int]:
    """Return the numbers of generations that nobody needs: those that served long ago, and given up ones.

    `filling` is one that is being filled and stays; None where none is.
    """
    found = listed(connection)
    kept = [one.number for one in found if one.state is ModelState.KEPT]
    given_up = [one.number for one in found if one.state is ModelState.FILLING and one.number != filling]
    return given_up + kept[KEPT:]


def forget(connection: sqlite3.Connection, number: int) -> bool:
    """Delete some of a generation's vectors, within a transaction; at last the generation. Return whether it is gone.

    Vectors of spaces that another generation fills too stay. So do the empty spaces, hidden: a number that named
    something is never given again.
    """
    alone = [space for generation, _, space, _, only in connection.execute(_SPACES) if generation == number and only]
    for space in alone:
        found = connection.execute("SELECT key FROM vectors WHERE space = ? LIMIT ?", (space, _SLICE)).fetchall()
        connection.execute("DELETE FROM user_vectors WHERE space = ?", (space,))
        if found:
            (sequence,) = connection.execute(_ADVANCE).fetchall()[0]
            connection.executemany("INSERT INTO dead VALUES (?, ?, ?)", [(sequence, space, key) for (key,) in found])
            connection.executemany("DELETE FROM vectors WHERE key = ?", found)
            return False
    connection.execute(
        "DELETE FROM model_spaces WHERE generation = ? AND space NOT IN (SELECT value FROM json_each(?))",
        (number, json.dumps(alone)),
    )
    connection.execute("UPDATE model_generations SET state = 'gone' WHERE number = ?", (number,))
    return True


def _spaces_to_fill(connection: sqlite3.Connection, number: int) -> dict[str, int]:
    return dict(connection.execute(_TO_FILL, (number,)).fetchall())


def _listed(connection: sqlite3.Connection, number: int) -> ModelGeneration:
    return next(one for one in listed(connection) if one.number == number)


def _adopt(connection: sqlite3.Connection, model: str) -> int:
    """Make the first generation of the spaces that a model fills in a catalogue older than generations."""
    present = connection.execute("SELECT name, key, model FROM spaces WHERE model IS NOT NULL").fetchall()
    [(number,)] = connection.execute(
        "INSERT INTO model_generations (model, state, filled, switched) VALUES (?, 'active', 0, 0) RETURNING number",
        (present[0][2] if present else model,),
    ).fetchall()
    rows = [(number, name, key) for name, key, _ in present]
    connection.executemany("INSERT INTO model_spaces VALUES (?, ?, ?)", rows)
    return int(number)


def _add_space(connection: sqlite3.Connection, number: int, space: Space) -> None:
    taken = {name for (name,) in connection.execute("SELECT name FROM spaces")}
    stored = space.name if space.name not in taken else f"{space.name}#{number}"
    [(key,)] = connection.execute(
        "INSERT INTO spaces (name, dimension, metric, fingerprint, model) VALUES (?, ?, ?, ?, ?) RETURNING key",
        (stored, space.dimension, space.metric.value, space.fingerprint, space.model),
    ).fetchall()
    connection.execute("INSERT INTO model_spaces VALUES (?, ?, ?)", (number, space.name, key))
