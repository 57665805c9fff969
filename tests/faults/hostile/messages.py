"""Requests made from the protos' descriptors: each field left out, plausible or hostile. A seed makes them again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_DEEPEST = 8
"""Messages within each other; sometimes a chain of one kind goes further, see `_chain`."""

_LARGEST = 2000
"""Messages within a message, all together."""

_MOST_BYTES = 64 << 20
"""Of repeated values within a message: more than a server takes, and no more than the sender can hold."""

_LONG = "x" * 70_000

_TEXTS = (
    "",
    " ",
    "\0",
    "a\nb",
    "\x85",
    "*",
    "ü" * 200,
    "\U0001f4a5",
    "\u202etxet",
    "x" * 257,
    "x" * 5000,
    _LONG,
    "../../etc/passwd",
    "'; DROP TABLE items; --",
    "%s%n{0}",
    "NaN",
    "-1",
    "9" * 5000,
    "operations/backup-" + "9" * 5000,
    "attributes.",
    "attributes.a.b",
    "((((((((((",
    'category = "a" AND' * 300,
    "NOT " * 500 + "a:*",
    'attributes.price < 1e999 OR attributes.t > "x"',
    "AAAA",
    "e30=",
    "0" * 64,
)
_INTEGERS = (0, 1, -1, 7, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 10**18)
_NUMBERS = (0.0, -0.0, 1.0, -1.0, 5e-324, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_SINGLES = (0.0, 1.0, float("nan"), float("inf"), 3e38, 1e-45, -3e38)
_ENUMS = (0, 1, 2, -1, 99, 2**31 - 1, -(2**31))

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Messages:
    """Makes messages of any kind."""

    def __init__(self, random: Random, known: Mapping[str, Sequence[Any]]) -> None:
        """Draw from `random`. `known` has plausible values by the name of their field; "" stands for other texts."""
        self._random = random
        self._known = known
        self._left = 0
        self._bytes_left = 0

    def make(self, kind: Descriptor) -> Message:
        """Return a message of a kind, which may be all right, bad in one place, or bad throughout."""
        hostility = self._random.choice((0.0, 0.03, 0.2, 0.8))
        fullness = self._random.choice((0.15, 0.5, 0.95))
        self._left = _LARGEST
        self._bytes_left = _MOST_BYTES
        return self._message(kind, hostility, fullness, 0)

    def encoded(self, kind: Descriptor) -> bytes:
        """Return the bytes of such a message, sometimes damaged, sometimes no message at all."""
        draw = self._random.random()
        if draw < 0.03:
            return self._random.randbytes(self._random.choice((0, 1, 3, 100, 5000)))
        if draw < 0.05 and (chain := self._chain(kind)):
            return chain
        content = self.make(kind).SerializeToString()
        return damaged(content, self._random) if draw > 0.85 else content

    def _message(self, kind: Descriptor, hostility: float, fullness: float, depth: int) -> Message:
        message: Message = message_factory.GetMessageClass(kind)()
        self._left -= 1
        chosen = {one.name: self._random.choice(one.fields) for one in kind.oneofs if self._random.random() < 0.9}
        for field in kind.fields:
            if field.containing_oneof is not None:
                if chosen.get(field.containing_oneof.name) is not field:
                    continue
            elif self._random.random() > fullness:
                continue
            if field.message_type is not None and (depth >= _DEEPEST or self._left < 0):
                continue
            self._fill(message, field, hostility, fullness, depth)
        return message

    def _fill(self, message: Message, field: FieldDescriptor, hostility: float, fullness: float, depth: int) -> None:
        held = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            names, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            for _ in range(self._count(hostility, composed=True)):
                held[self._scalar(names, hostility)].CopyFrom(
                    self._message(value.message_type, hostility, fullness, depth + 1)
                )
        elif field.is_repeated:
            composed = field.message_type is not None
            count = self._count(hostility, composed=composed)
            if composed:
                held.extend(self._message(field.message_type, hostility, fullness, depth + 1) for _ in range(count))
            else:
                # Many of one, else most of the time would go into making texts.
                few = [self._scalar(field, hostility) for _ in range(min(count, 3))]
                held.extend(few if count <= len(few) else few[:1] * self._affordable(few[0], count))
        elif field.message_type is not None:
            held.CopyFrom(self._message(field.message_type, hostility, fullness, depth + 1))
        else:
            setattr(message, field.name, self._scalar(field, hostility))

    def _count(self, hostility: float, *, composed: bool) -> int:
        if self._random.random() < hostility * 0.2:
            return self._random.choice((0, 20, 300) if composed else (0, 300, 2000, 17_000))
        return self._random.choice((1, 1, 2, 3))

    def _affordable(self, value: Any, count: int) -> int:
        """Return how many times `value` may stand in a field, at most `count`."""
        if isinstance(value, str | bytes) and value:
            count = min(count, 1 + self._bytes_left // len(value))
            self._bytes_left -= count * len(value)
        return count

    def _scalar(self, field: FieldDescriptor, hostility: float) -> Any:
        if self._random.random() >= hostility:
            known = self._known.get(field.name)
            if known is not None and type(known[0]) is not _python_type(field):
                known = None  # another field of that name
            if known is None and field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                known = self._known["bytes" if field.type == FieldDescriptor.TYPE_BYTES else ""]
            if known is not None:
                return self._random.choice(known)
            return self._plausible(field)
        return self._hostile(field)

    def _plausible(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._random.choice(field.enum_type.values).number
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return self._random.choice((0.25, 0.5, 0.9, 1.0, 2.0))
            case _:
                return self._random.choice((0, 1, 2, 3, 5, 10))

    def _hostile(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                if field.type == FieldDescriptor.TYPE_BYTES:
                    return self._bytes()
                # Paths are for the server's machine: nothing is to be written just anywhere there.
                return self._random.choice(_TEXTS)
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._random.choice(_ENUMS)
            case FieldDescriptor.CPPTYPE_DOUBLE:
                return self._random.choice(_NUMBERS)
            case FieldDescriptor.CPPTYPE_FLOAT:
                return self._random.choice(_SINGLES)
            case _:
                least, most = _RANGES[field.cpp_type]
                return max(least, min(most, self._random.choice(_INTEGERS)))

    def _bytes(self) -> bytes:
        known = self._random.choice(self._known["bytes"])
        make: Sequence[Callable[[], bytes]] = (
            lambda: b"",
            lambda: b"\0",
            lambda: self._random.randbytes(7),
            lambda: self._random.randbytes(4096),
            lambda: struct.pack("<3f", *self._random.choices(_SINGLES, k=3)),
            lambda: struct.pack("<64f", *self._random.choices(_SINGLES, k=64)),
            lambda: bytes(known[: len(known) // 2]),
            lambda: damaged(known, self._random),
        )
        return self._random.choice(make)()

    def _chain(self, kind: Descriptor) -> bytes:
        """Return a message within itself thousands of times; empty where no field leads back to its own kind."""
        path = _way_round(kind)
        if not path:
            return b""
        lead, circle = path
        content = b""
        for _ in range(self._random.choice((40, 90, 500, 5000))):
            for number in reversed(circle):
                content = _length_delimited(number, content)
        for number in reversed(lead):
            content = _length_delimited(number, content)
        return content


def _python_type(field: FieldDescriptor) -> type:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return bytes if field.type == FieldDescriptor.TYPE_BYTES else str
    return int if field.cpp_type in _RANGES else float


def damaged(content: bytes, random: Random) -> bytes:
    """Return the bytes with a few of them changed, lost, doubled or added."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 2:
                data[at:at] = random.randbytes(random.choice((1, 4, 40)))
            case 3:
                del data[at : at + random.choice((1, 4, 40))]
            case _:
                data[at:at] = data[at : at + random.choice((1, 8, 200))]
    return bytes(data)


def _way_round(kind: Descriptor) -> tuple[list[int], list[int]] | None:
    """Return the numbers of the fields that lead to a message, and of those that lead from it to one of its kind."""
    line: list[tuple[Descriptor, list[tuple[Descriptor, int]]]] = [(kind, [])]
    seen = {kind.full_name}
    while line:
        at, way = line.pop(0)
        for field in at.fields:
            target = field.message_type
            if target is None:
                continue
            went = [*way, (at, field.number)]
            names = [one.full_name for one, _ in went]
            if target.full_name in names:
                turn = names.index(target.full_name)
                return [number for _, number in went[:turn]], [number for _, number in went[turn:]]
            if target.full_name not in seen:
                seen.add(target.full_name)
                line.append((target, went))
    return None


def _length_delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
