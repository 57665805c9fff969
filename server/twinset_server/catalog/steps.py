"""Named places at which a test may end this process, as a power cut or `kill -9` would.

`TWINSET_FAULT_AT=manifest-written:3` in a process's environment kills it when it gets to that step for the third time.
Where the variable isn't set, `reached` does nothing.
"""

from __future__ import annotations

import os
import signal
import threading

SEGMENT_SAVED = "segment-saved"
SEGMENT_SYNCED = "segment-synced"
COLUMNS_SAVED = "columns-saved"
COLUMNS_WRITTEN = "columns-written"
COLUMNS_RENAMED = "columns-renamed"
MANIFEST_WRITTEN = "manifest-written"
MANIFEST_RENAMED = "manifest-renamed"
DIRECTORY_SYNCED = "directory-synced"
PICTURES_WRITTEN = "pictures-written"
BEFORE_COMMIT = "before-commit"
AFTER_COMMIT = "after-commit"
FEED_COMMIT = "feed-commit"
IMPORT_BEGUN = "import-begun"
IMPORT_ROWS = "import-rows"
IMPORT_WHOLE = "import-whole"
IMPORT_SWITCHED = "import-switched"
IMPORT_FORGETTING = "import-forgetting"


class _Fault:
    """Kills the process when a step is reached for the `count`-th time."""

    def __init__(self, setting: str) -> None:
        self._name, _, count = setting.partition(":")
        self._left = int(count or 1)
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _nothing(name: str) -> None:
    """Do nothing."""


reached = _Fault(setting) if (setting := os.environ.get("TWINSET_FAULT_AT")) else _nothing
"""Tell that a step is reached; its name is one of the constants above."""
