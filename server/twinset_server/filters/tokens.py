"""The words and signs of a filter's string, each with its position."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from twinset_server.errors import InvalidRequest

FILTER_FIELD = "filter"


class Kind(enum.Enum):
    """What a token is; the value is what messages call it."""

    WORD = "a word"
    QUOTED = "a quoted text"
    COMPARATOR = "a comparator"
    OPEN = "'('"
    CLOSE = "')'"
    DOT = "'.'"
    MINUS = "'-'"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a sign.

    Attributes:
        kind: what it is.
        text: as it stands in the filter; of a quoted text what is between the quotes, escapes included.
        start: the position of its first character, from 0.
        end: the position behind its last one.
    """

    kind: Kind
    text: str
    start: int
    end: int


_SPACE = re.compile(r"\s*")
_SIGNS = (
    (Kind.COMPARATOR, re.compile(r"<=|>=|!=|[<>=:]")),
    (Kind.OPEN, re.compile(r"\(")),
    (Kind.CLOSE, re.compile(r"\)")),
    (Kind.QUOTED, re.compile(r'"((?:[^"\\]|\\.)*)"|' + r"'((?:[^'\\]|\\.)*)'", re.DOTALL)),
)
# Of a field: up to the next dot. A minus begins no word there: it negates.
_NAME = (
    (Kind.DOT, re.compile(r"\.")),
    (Kind.MINUS, re.compile(r"-")),
    (Kind.WORD, re.compile(r"[^\s()\"'<>=:!.,\\-][^\s()\"'<>=:!.,\\]*")),
)
# Of a value: with dots and a number's sign, a time even with colons. Another minus negates.
_VALUE = (
    (Kind.MINUS, re.compile(r"-(?![\d.])")),
    (Kind.WORD, re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)(?![^\s()])")),
    (Kind.WORD, re.compile(r"(?:[^\s()\"'<>=:!,\\]|\\.)+")),
)


class Tokens:
    """Reads a filter's string from the left, one token ahead.

    Whether a word is a value, in which dots and colons of a time belong to it, the reader knows: so it says so.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def peek(self, *, value: bool = False) -> Token:
        """Return the next token.

        Raises:
            InvalidRequest: no token begins there.
        """
        start = self._space_end()
        if start == len(self._text):
            return Token(Kind.END, "", start, start)
        for kind, pattern in (*_SIGNS, *(_VALUE if value else _NAME)):
            found = pattern.match(self._text, start)
            if found:
                groups = [group for group in found.groups() if group is not None]
                return Token(kind, groups[0] if groups else found[0], start, found.end())
        character = self._text[start]
        if character in "\"'":
            raise error(start, f"the quote {character} is never closed")
        raise error(start, f"{character!r} can't stand here: quote what has it within")

    def take(self, *, value: bool = False) -> Token:
        """Return the next token, and go on behind it."""
        token = self.peek(value=value)
        self._at = token.end
        return token

    def _space_end(self) -> int:
        found = _SPACE.match(self._text, self._at)
        return self._at if found is None else found.end()


def error(position: int, message: str) -> InvalidRequest:
    """Return what is wrong at a position, which people count from 1."""
    return InvalidRequest(FILTER_FIELD, f"at character {position + 1}: {message}")


def unexpected(token: Token, expected: str) -> InvalidRequest:
    """Return that `token` stands where something else should."""
    found = token.kind.value if token.kind is Kind.END else repr(token.text)
    return error(token.start, f"expected {expected}, found {found}")
