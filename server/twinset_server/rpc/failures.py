"""Failed calls in the log: a line each, while there are few."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Final

from google.rpc import error_details_pb2, status_pb2

from twinset_server.logs import FIELDS, described
from twinset_server.rpc.status import CODE_BY_NUMBER

_log = logging.getLogger(__name__)

MOST_A_SECOND: Final = 20
"""Lines of a process; an overloaded server, which refuses thousands, has other things to do than to write."""

_KEYS = re.compile(r"\[[^]]*\]")


class FailureLog:
    """Writes failed calls down, and how many it left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = -1
        self._lines = 0
        self._left_out = 0

    def tell(self, method: str, status: status_pb2.Status, error: Exception | None = None) -> None:
        """Give `status` a request id, and write a line of the call under it; `error` is what nobody foresaw.

        The line has no message, since that names what was sent: only its code, its reason, and which field was bad.
        """
        request_id = _request_id(status)
        if error is None and not self._has_room():
            return
        reason, field = _told(status)
        facts = {"method": method, "code": CODE_BY_NUMBER[status.code].name, "reason": reason, "request": request_id}
        if field:
            facts["field"] = field
        if error is not None:
            facts["error"] = described(error)
        _log.log(logging.ERROR if error is not None else logging.INFO, "a call failed", extra={FIELDS: facts})

    def leave_out(self) -> None:
        """Count a failed call that the line of another tells of."""
        self._left_out += 1

    def _has_room(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            if self._left_out:
                _log.info("more calls failed", extra={FIELDS: {"count": self._left_out}})
            self._second, self._lines, self._left_out = second, 0, 0
        if self._lines >= MOST_A_SECOND:
            self._left_out += 1
            return False
        self._lines += 1
        return True


def _request_id(status: status_pb2.Status) -> str:
    """Return the id that the status tells its caller, which it is given where it has none."""
    told = error_details_pb2.RequestInfo()
    for detail in status.details:
        if detail.Unpack(told):
            return str(told.request_id)
    told.request_id = secrets.token_hex(8)
    status.details.add().Pack(told)
    return str(told.request_id)


def _told(status: status_pb2.Status) -> tuple[str, str]:
    """Return the reason, and the field that was bad, without the keys of maps, which callers make up."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    reason = field = ""
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            field = _KEYS.sub("", bad.field_violations[0].field)
    return reason, field
