"""What callers were told, and what they had asked for and not heard of: by this what is stored is judged."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

State = tuple[int, int]
"""An item's version, as of its last put, and its price, as of the last update since then (0: none)."""


@dataclass(slots=True)
class Stored:
    """What a catalogue holds: items by id, versions of users by id, and interactions by their serial numbers."""

    items: dict[str, State] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    interactions: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Attempt:
    """What a call leaves if it is made; None for an item that it deletes. All or nothing where it is `whole`."""

    items: dict[str, State | None] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    interactions: list[int] = field(default_factory=list)
    whole: bool = False

    @property
    def changes(self) -> int:
        return len(self.items) + len(self.users) + len(self.interactions)


@dataclass(slots=True)
class Ledger:
    """Acknowledged states and calls under way.

    `acknowledged` counts the changes that callers were told of; `generation` is the last that the builder published.
    """

    items: dict[str, State | None] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    interactions: set[int] = field(default_factory=set)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    acknowledged: int = 0
    generation: int = 0
    _serials: itertools.count[int] = field(default_factory=itertools.count)

    def begin(self, attempt: Attempt) -> int:
        """Note a call that is about to be made, and return its number."""
        number = next(self._serials)
        self.attempts[number] = attempt
        return number

    def done(self, number: int) -> None:
        """Note that the call was acknowledged as a whole."""
        attempt = self.attempts.pop(number)
        # Each thing has one caller, who asks for one change of it after the other: earlier ones can't come any more.
        for earlier in self.attempts.values():
            for name in attempt.items:
                earlier.items.pop(name, None)
            for name in attempt.users:
                earlier.users.pop(name, None)
        self.items |= attempt.items
        self.users |= attempt.users
        self.interactions |= set(attempt.interactions)
        self.acknowledged += attempt.changes

    def problems(self, stored: Stored) -> list[str]:
        """Return what is lost, came back, or is there twice or in part."""
        found = []
        for name in sorted({*self.items, *stored.items, *self._under_way("items")}):
            allowed = [self.items.get(name), *(one.items[name] for one in self.attempts.values() if name in one.items)]
            if stored.items.get(name) not in allowed:
                found.append(f"item {name} is {stored.items.get(name)}, and should be {_either(allowed)}")
        for name in sorted({*self.users, *stored.users, *self._under_way("users")}):
            users = [self.users.get(name), *(one.users[name] for one in self.attempts.values() if name in one.users)]
            if stored.users.get(name) not in users:
                found.append(f"user {name} is {stored.users.get(name)}, and should be {_either(users)}")
        found += self._interaction_problems(stored.interactions)
        # Of an earlier one that failed, later changes may have made a part by themselves.
        *earlier, last = self.attempts.values() or [Attempt()]
        # And what an earlier one may have made, though nobody was told, the last one may only leave as it was.
        unsure = {change for one in earlier for change in one.items.items()}
        changed = {name: state for name, state in last.items.items() - unsure if state != self.items.get(name)}
        made = [name for name, state in changed.items() if stored.items.get(name) == state]
        if last.whole and 0 < len(made) < len(changed):
            found.append(f"{len(made)} of the {len(changed)} changes of one feed are there")
        return found

    def settle(self, stored: Stored) -> None:
        """Take what is stored for the truth, once it was judged: nothing is under way any more."""
        self.items = dict(stored.items)
        self.users = dict(stored.users)
        self.interactions = set(stored.interactions)
        self.attempts.clear()

    def _interaction_problems(self, stored: Iterable[int]) -> list[str]:
        counts = Counter(stored)
        allowed = self.interactions | set(self._under_way("interactions"))
        return [
            *(f"interaction {serial} is lost" for serial in sorted(self.interactions - set(counts))),
            *(f"interaction {serial} was never put" for serial in sorted(set(counts) - allowed)),
            *(f"interaction {serial} is there {count} times" for serial, count in counts.items() if count > 1),
        ]

    def _under_way(self, kind: str) -> set[str]:
        return {one for attempt in self.attempts.values() for one in getattr(attempt, kind)}


def begun(number: str, attempt: Attempt) -> str:
    """Return a line that notes an attempt, for a process that is read from outside."""
    return json.dumps(["begun", number, attempt.items, attempt.users, attempt.interactions, attempt.whole])


def done(number: str) -> str:
    """Return the line that notes its acknowledgement."""
    return json.dumps(["done", number])


def published(generation: int) -> str:
    """Return the line that notes that a generation of the index is durable."""
    return json.dumps(["published", generation])


def read(lines: Iterable[str]) -> Ledger:
    """Return the ledger that such lines describe."""
    ledger, numbers = Ledger(), {}
    for line in lines:
        match json.loads(line):
            case ["begun", number, items, users, interactions, whole]:
                states = {name: tuple(state) if state else None for name, state in items.items()}
                numbers[number] = ledger.begin(Attempt(states, users, interactions, whole))  # type: ignore[arg-type]
            case ["done", number]:
                ledger.done(numbers[number])
            case ["published", generation]:
                ledger.generation = generation
    return ledger


def _either(states: Iterable[object]) -> str:
    return " or ".join(dict.fromkeys("absent" if state is None else str(state) for state in states))
