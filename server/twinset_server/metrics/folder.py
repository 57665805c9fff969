"""The folder in which the processes of one server count, told to them by a variable that prometheus_client knows."""

from __future__ import annotations

import os
import shutil
import tempfile

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def is_counting() -> bool:
    """Return whether this process counts for a scrape: whoever started it made the folder."""
    return _VARIABLE in os.environ


class CountingFolder:
    """Made before the first process that counts is started, removed after the last has ended."""

    def __init__(self) -> None:
        """Make the folder, and tell it to processes that are started from here.

        Raises:
            OSError: there is no place for it.
        """
        self.path = tempfile.mkdtemp(prefix="twinset-metrics-")
        os.environ[_VARIABLE] = self.path

    def remove(self) -> None:
        """Remove the folder and what was counted."""
        os.environ.pop(_VARIABLE, None)
        shutil.rmtree(self.path, ignore_errors=True)
