"""Elements of a stream gathered into messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from twinset.errors import InvalidArgument

T = TypeVar("T")

MAX_MESSAGE_BYTES = 24 * 1024 * 1024
"""What the server takes in one message."""

_WANTED_BYTES = 8 * 1024 * 1024
# What a message needs besides its elements: lengths and tags.
_ENVELOPE_BYTES = 64 * 1024


def batches(
    elements: Iterable[T], *, size: Callable[[T], int], most: int, name: Callable[[int, T], str] | None = None
) -> Iterator[list[T]]:
    """Return the elements in order, in groups of at most `most` and about 8 MiB; a larger element goes alone.

    Args:
        elements: drawn as the groups are.
        size: returns an element's bytes in a message.
        most: elements in a group, 1 to 1,000.
        name: returns what an error calls an element at its place.

    Raises:
        ValueError: `most` is not 1 to 1,000.
        InvalidArgument: an element takes more than a message can hold.
    """
    if not 1 <= most <= 1000:
        raise ValueError(f"{most} elements can't go into one message")
    group: list[T] = []
    total = 0
    for place, element in enumerate(elements):
        element_bytes = size(element)
        if element_bytes > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
            called = name(place, element) if name else f"element {place}"
            raise InvalidArgument(
                f"{called} takes {element_bytes / 1024**2:.1f} MiB, a message holds "
                f"{MAX_MESSAGE_BYTES // 1024**2}: send smaller or fewer pictures",
                code="INVALID_ARGUMENT",
                reason="MESSAGE_TOO_LARGE",
            )
        if group and total + element_bytes > _WANTED_BYTES:
            yield group
            group, total = [], 0
        group.append(element)
        total += element_bytes
        if len(group) == most:
            # At once, so that an element that comes late doesn't hold up those before it.
            yield group
            group, total = [], 0
    if group:
        yield group
