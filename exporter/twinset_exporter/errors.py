"""What can go wrong in an export; every message says what to do next."""

from __future__ import annotations


class ExportError(Exception):
    """The export was asked for rightly but failed or was refused; nothing was published. Exit code 1."""

    exit_code = 1


class UsageError(ExportError):
    """What was asked for makes no sense. Exit code 2."""

    exit_code = 2
