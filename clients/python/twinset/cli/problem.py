"""What stops a command."""

from __future__ import annotations

from twinset.errors import TwinsetError

# What a command sends as a picture, as the paths of the requests' fields begin.
_PICTURE_FIELDS = ("pictures[", "examples[0].picture", "left.picture", "right.picture")

_REMEDIES = {
    "ITEM_NOT_FOUND": "`twinset items` lists the items",
    "SPACE_NOT_FOUND": "`twinset status` lists the spaces",
}


class Problem(Exception):
    """A mistake in the call, or a file that can't be used. The message is one line that says what to do."""


class SomeFailed(Exception):
    """The command ran to its end, and some elements failed; they have been listed."""


def explain(error: TwinsetError) -> str:
    """Return the server's message with the command that helps, where there is one."""
    remedy = _REMEDIES.get(error.reason)
    return f"{error.message}: {remedy}" if remedy else error.message


def picture_fault(error: TwinsetError) -> str | None:
    """Return what the server finds wrong with a picture, or None where the error is about something else.

    The path of the request's field is left out: who gave a file knows nothing of it.
    """
    if not error.field.startswith(_PICTURE_FIELDS):
        return None
    return error.message.removeprefix(f"{error.field}: ")
