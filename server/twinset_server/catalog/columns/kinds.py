"""The kinds of values, and the eight bytes that each is kept in."""

from __future__ import annotations

import datetime
import math
import struct

from twinset_server.catalog.columns.orders import INT64, nearest_real
from twinset_server.domain import Attribute

# The kinds, with what the eight bytes of each hold.
WHOLE = 1  # the number itself
REAL = 2  # a float64's bits: one that no int64 equals
TRUTH = 3  # 0 or 1
TIME = 4  # microseconds since 1970
TEXT = 5  # the text's number
TEXTS = 6  # the list's number

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

FIRST_TIME, LAST_TIME = (
    (time.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
    for time in (datetime.datetime.min, datetime.datetime.max)
)
"""The first and the last microsecond that a datetime can hold."""


def plain(value: object) -> tuple[int, int | None]:
    """Return kind and payload of what is no text; no payload for what can't be kept, and so equals no value.

    Raises:
        ValueError: a time has no zone.
    """
    match value:
        case bool():
            return TRUTH, int(value)
        case int() if INT64.min <= value <= INT64.max:
            return WHOLE, value
        case int():
            # A filter may ask for 2 ** 63, which is stored as the float64 that it equals.
            real = nearest_real(value)
            return REAL, _bits(real) if real == value else None
        case float() if not math.isfinite(value):
            return REAL, None
        case float() if value.is_integer() and INT64.min <= int(value) <= INT64.max:
            return WHOLE, int(value)
        case float():
            return REAL, _bits(value)
        case datetime.datetime():
            return TIME, microseconds(value)
    raise ValueError(f"{type(value).__name__} is no type of an attribute")


def kinds_of(operand: Attribute) -> list[int]:
    """Return the kinds of the values that compare to `operand`."""
    match operand:
        case bool():
            return [TRUTH]
        case int() | float():
            return [WHOLE, REAL]
        case datetime.datetime():
            return [TIME]
        case str():
            return [TEXT]
        case _:
            return [TEXTS]


def microseconds(time: datetime.datetime) -> int:
    """Return the payload of a time.

    Raises:
        ValueError: it has no zone.
    """
    if time.tzinfo is None:
        raise ValueError("the time has no zone")
    return (time - _EPOCH) // _MICROSECOND


def _bits(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


def time_of(payload: int) -> datetime.datetime:
    """Return the time, in UTC."""
    return _EPOCH + payload * _MICROSECOND


def real_of(bits: int) -> float:
    """Return the float64 of these bits."""
    value: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return value
