"""What the log looks like: lines for people, or objects of JSON for machines.

No line holds pictures or what callers sent as values: those may be people's.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, Literal

FIELDS = "fields"
"""The name under which `extra` of a record carries facts by name; both formats show them."""

_VARIABLE = "TWINSET_LOGS__FORMAT"

Format = Literal["text", "json"]


def set_up(process: str, form: Format | None = None) -> None:
    """Write the log of this process to standard error.

    `form` is told to processes that are started from here; without one it is what was told so.
    """
    if form is not None:
        os.environ[_VARIABLE] = form
    handler = logging.StreamHandler(sys.stderr)
    is_json = os.environ.get(_VARIABLE) == "json"
    handler.setFormatter(_Json(process) if is_json else _Text(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def described(error: BaseException) -> str:
    """Return where an error came from and its type, without its text, which may hold what a caller sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames))
    return f"{type(error).__module__}.{type(error).__qualname__} in {where}"


class _Text(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s {process} %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        told = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return super().format(record) + told


class _Json(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        } | dict(_fields(record))
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(record, FIELDS, {})
    return found
