"""What stops a command."""

from __future__ import annotations


class Problem(Exception):
    """A mistake in the call, or a file that can't be used. The message is one line that says what to do."""


class SomeFailed(Exception):
    """The command ran to its end, and some elements failed; they have been listed."""
