"""The distinct values of one field, by code: what a filter is evaluated on before it meets any item.

A field of a million items may hold three categories, or a million prices. So values are columns themselves: a byte for
the kind, eight for a number, and texts as UTF-8. A million different numbers take some 40 MB, most of it to find them.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.columns.growing import Growing
from twinset_server.catalog.columns.hashes import HashIndex
from twinset_server.catalog.columns.kinds import (
    FIRST_TIME,
    LAST_TIME,
    REAL,
    TEXT,
    TEXTS,
    TIME,
    TRUTH,
    WHOLE,
    kinds_of,
    microseconds,
    plain,
    real_of,
    time_of,
)
from twinset_server.catalog.columns.lists import Lists
from twinset_server.catalog.columns.orders import INT64, compare_real, compare_whole
from twinset_server.catalog.columns.texts import ABOVE, BELOW, EQUAL, LONGER, Texts
from twinset_server.domain import Attribute, Operator

BoolArray = NDArray[np.bool_]

_HEADER = struct.Struct("<8s5q")
_MAGIC = b"twsval01"

_ORDERS = {Operator.LESS, Operator.AT_MOST, Operator.GREATER, Operator.AT_LEAST}
_STANDINGS = {
    Operator.LESS: (BELOW,),
    Operator.AT_MOST: (BELOW, EQUAL),
    Operator.GREATER: (ABOVE, LONGER),
    Operator.AT_LEAST: (EQUAL, ABOVE, LONGER),
    Operator.PREFIX: (EQUAL, LONGER),
}


class Values:
    """Distinct values by code 1, 2, ..., append-only; 0 is the code of no value.

    Text, number, truth, time and several texts are different kinds: `True` is not `1`, and `"1"` is not `1`. But `1.0`
    and `1` are one number. One thread appends; others read, each no further than the length that it took before.
    """

    def __init__(self) -> None:
        self._kinds = Growing(np.empty(0, np.uint8))
        self._payloads = Growing(np.empty(0, np.int64))
        self._texts = Texts()
        self._lists = Lists(np.zeros(1, np.int64), np.empty(0, np.int32))
        self._index = HashIndex()

    def __len__(self) -> int:
        return len(self._index)

    def code_of(self, value: Attribute) -> int:
        """Return the code of `value`, which is appended where it is new.

        Raises:
            ValueError: a number is not finite or takes more than 64 bits, or a time has no zone.
        """
        kind, payload = self._stored(value)
        known = self._code(kind, payload)
        if known:
            return known
        self._kinds.append(kind)
        self._payloads.append(payload)
        # The index comes last: by then the value can be read.
        return self._index.add(hash((kind, payload))) + 1

    def value(self, code: int) -> Attribute:
        """Return the value of `code`: a number as int where it is whole, a time in UTC.

        Raises:
            IndexError: no value has this code.
        """
        if not 1 <= code <= len(self):
            raise IndexError(f"{code} is none of the codes 1 to {len(self)}")
        payload = int(self._payloads.array[code - 1])
        kind = int(self._kinds.array[code - 1])
        if kind == WHOLE:
            return payload
        if kind == REAL:
            return real_of(payload)
        if kind == TRUTH:
            return bool(payload)
        if kind == TIME:
            return time_of(payload)
        if kind == TEXT:
            return self._texts[payload]
        return tuple(self._texts[text] for text in self._lists[payload])

    def select(self, operator: Operator, operand: Attribute, length: int) -> BoolArray:
        """Return which values compare to `operand` as `operator` says.

        Args:
            operator: how to compare. A value of another kind than the operand's never matches, but for HAS of a text,
                which also finds lists with it. Truths and lists have no order.
            operand: what to compare with.
            length: how many values to look at, at most as many as there are.

        Returns:
            `[length + 1]` by code; the first is False.
        """
        if operator is Operator.EQUAL:
            return self.among([operand], length)
        truths = np.zeros(length + 1, np.bool_)
        kinds = self._kinds.array[:length]
        payloads = self._payloads.array[:length]
        match operand:
            case _ if operator is Operator.NOT_EQUAL:
                truths[1:] = np.isin(kinds, kinds_of(operand)) & ~self.among([operand], length)[1:]
            case str() if operator is Operator.HAS:
                truths[1:] = self.among([operand], length)[1:]
                self._select_lists(truths[1:], kinds, payloads, operand)
            case _ if operator is Operator.HAS:
                return self.among([operand], length)
            case str():
                matching = np.isin(self._texts.against(operand), _STANDINGS[operator])
                places = np.flatnonzero(kinds == TEXT)
                truths[1 + places] = matching[payloads[places]]
            case datetime.datetime() if operator in _ORDERS:
                truths[1:] = (kinds == TIME) & compare_whole(payloads, operator, microseconds(operand))
            case int() | float() if operator in _ORDERS and not isinstance(operand, bool):
                # Most fields have numbers of one of the two kinds.
                if (wholes := kinds == WHOLE).any():
                    truths[1:] = wholes & compare_whole(payloads, operator, operand)
                if (reals := kinds == REAL).any():
                    # The eight bytes of other kinds may be NaN.
                    with np.errstate(invalid="ignore"):
                        truths[1:] |= reals & compare_real(payloads.view(np.float64), operator, operand)
        return truths

    def among(self, operands: Sequence[Attribute], length: int) -> BoolArray:
        """Return which values equal one of `operands`, as `select` does."""
        truths = np.zeros(length + 1, np.bool_)
        codes = [code for operand in operands if (code := self._find(operand)) <= length]
        truths[codes] = True
        truths[0] = False
        return truths

    def tally(self, counts: NDArray[np.int64], limit: int) -> tuple[tuple[tuple[Attribute, int], ...], int]:
        """Return the most frequent values with their counts, and how many values have one.

        Args:
            counts: `[V + 1]` by code, how many items have each value. A list's count is that of each of its texts.
            limit: how many to return at most. Which ones of equal count are is left open; they stand in no order.
        """
        length = len(counts) - 1
        kinds, payloads = self._kinds.array[:length], self._payloads.array[:length]
        alone = kinds <= TIME
        by_text = np.zeros(len(self._texts), np.int64)
        of_texts = np.flatnonzero(kinds == TEXT)
        by_text[payloads[of_texts]] = counts[1 + of_texts]
        of_lists = np.flatnonzero((kinds == TEXTS) & (counts[1:] > 0))
        self._lists.spread(payloads[of_lists], counts[1 + of_lists], by_text)
        every = np.concatenate([np.where(alone, counts[1:], 0), by_text])
        top = np.argpartition(-every, min(limit, len(every) - 1))[:limit] if len(every) else np.empty(0, np.int64)
        top = top[np.argsort(-every[top], kind="stable")]
        found = tuple(
            (self.value(place + 1) if place < length else self._texts[place - length], int(every[place]))
            for place in top.tolist()
            if every[place]
        )
        return found, int(np.count_nonzero(every))

    def to_bytes(self) -> bytes:
        """Return all values, for `from_bytes`: little-endian columns behind a header, the widest first."""
        counts = (len(self), len(self._texts), len(self._lists), len(self._texts.utf8), len(self._lists.members))
        return b"".join(
            (
                _HEADER.pack(_MAGIC, *counts),
                self._payloads.whole().tobytes(),
                self._texts.starts.tobytes(),
                self._lists.starts.tobytes(),
                self._lists.members.tobytes(),
                self._kinds.whole().tobytes(),
                self._texts.utf8.tobytes(),
            )
        )

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview) -> Values:
        """Return the values that `to_bytes` wrote. `content` is kept, not copied, until something is appended.

        Raises:
            ValueError: it is damaged as far as can be seen; another value for a value can't be.
        """
        view = memoryview(content).cast("B")
        if len(view) < _HEADER.size:
            raise ValueError("too short to hold the values of a field")
        magic, count, texts, lists, text_bytes, members = _HEADER.unpack_from(view)
        if magic != _MAGIC:
            raise ValueError("not the values of a field, or of another version")
        if min(count, texts, lists, text_bytes, members) < 0:
            raise ValueError("a count of the values is negative")
        sizes = (8 * count, 8 * (texts + 1), 8 * (lists + 1), 4 * members, count, text_bytes)
        if _HEADER.size + sum(sizes) != len(view):
            raise ValueError(f"the values take {len(view)} bytes, not {_HEADER.size + sum(sizes)}")
        ends = np.cumsum((_HEADER.size, *sizes)).tolist()
        payloads, text_starts, list_starts, list_members, kinds, utf8 = (
            np.frombuffer(view[start:end], dtype)
            for start, end, dtype in zip(ends, ends[1:], ("<i8", "<i8", "<i8", "<i4", "u1", "u1"), strict=False)
        )
        values = cls()
        values._texts = Texts(text_starts, utf8)
        values._lists = Lists(list_starts, list_members)
        _check(kinds, payloads, list_members, texts, lists)
        values._kinds = Growing(kinds)
        values._payloads = Growing(payloads)
        pairs = zip(kinds.tolist(), payloads.tolist(), strict=True)
        values._index = HashIndex(np.fromiter(map(hash, pairs), np.int64, count))
        return values

    def _stored(self, value: Attribute) -> tuple[int, int]:
        """Return kind and payload of a value to keep; its texts are added where they are new."""
        match value:
            case str():
                return TEXT, self._texts.number_of(value)
            case tuple():
                return TEXTS, self._lists.number_of([self._texts.number_of(text) for text in value])
            case _:
                kind, payload = plain(value)
                if payload is None:
                    raise ValueError(f"{value} is not a finite number of 64 bits")
                return kind, payload

    def _find(self, value: Attribute) -> int:
        """Return the code of `value`; 0 where it is not there."""
        match value:
            case str():
                text = self._texts.find(value)
                return 0 if text is None else self._code(TEXT, text)
            case tuple():
                members = [self._texts.find(text) for text in value]
                known = [member for member in members if member is not None]
                number = self._lists.find(known) if len(known) == len(members) else None
                return 0 if number is None else self._code(TEXTS, number)
            case _:
                kind, payload = plain(value)
                return 0 if payload is None else self._code(kind, payload)

    def _code(self, kind: int, payload: int) -> int:
        for number in self._index.candidates(hash((kind, payload))):
            if self._kinds.array[number] == kind and self._payloads.array[number] == payload:
                return number + 1
        return 0

    def _select_lists(
        self, truths: BoolArray, kinds: NDArray[np.uint8], payloads: NDArray[np.int64], text: str
    ) -> None:
        """Set the truths of lists that hold `text`."""
        number = self._texts.find(text)
        if number is not None:
            holds = self._lists.holding(number)
            places = np.flatnonzero(kinds == TEXTS)
            truths[places] = holds[payloads[places]]


def _check(
    kinds: NDArray[np.uint8], payloads: NDArray[np.int64], members: NDArray[np.int32], texts: int, lists: int
) -> None:
    """Raise `ValueError` where a value isn't one that `Values` would have kept."""
    reals = payloads[kinds == REAL].view(np.float64)
    within = [
        ((kinds >= WHOLE) & (kinds <= TEXTS), "a kind"),
        (np.isin(payloads[kinds == TRUTH], (0, 1)), "a truth"),
        (_between(payloads[kinds == TIME] - FIRST_TIME, LAST_TIME - FIRST_TIME + 1), "a time"),
        (_between(payloads[kinds == TEXT], texts), "a text's number"),
        (_between(payloads[kinds == TEXTS], lists), "a list's number"),
        (_between(members, texts), "a list's text"),
        (np.isfinite(reals) & ((reals != np.floor(reals)) | (np.abs(reals) >= -float(INT64.min))), "a number"),
    ]
    for truths, what in within:
        if not truths.all():
            raise ValueError(f"{what} is none that values have")


def _between(numbers: NDArray[np.int64] | NDArray[np.int32], end: int) -> BoolArray:
    return (numbers >= 0) & (numbers < end)
