"""Times as the tables hold them: microseconds since 1970, in UTC."""

from __future__ import annotations

import datetime

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def to_microseconds(time: datetime.datetime) -> int:
    """Return `time`, which has a zone, in microseconds, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime.datetime:
    """Return the time in UTC."""
    return _EPOCH + datetime.timedelta(microseconds=microseconds)
