"""A filter's string to its tree: the part of AIP-160 that docs/filters.md describes.

    expression = sequence {"AND" sequence}
    sequence   = factor {factor}                            as AND
    factor     = term {"OR" term}                           so OR binds tighter than AND
    term       = ["NOT" | "-"] (restriction | "(" expression ")")
    restriction = field comparator argument
    argument   = value | "*" | "(" the same of values instead of restrictions ")"

Source of the grammar: https://google.aip.dev/160 and the EBNF that it links to.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable

from twinset_server.domain import (
    ATTRIBUTES,
    CATEGORY,
    And,
    Attribute,
    Compare,
    Exists,
    Expression,
    In,
    Not,
    Operator,
    Or,
)
from twinset_server.errors import InvalidRequest
from twinset_server.filters.bounds import MAX_DEPTH, MAX_FILTER_BYTES, check
from twinset_server.filters.tokens import FILTER_FIELD, Kind, Token, Tokens, error, unexpected

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_STAR = re.compile(r"(?<!\\)(?:\\\\)*\*")
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TRUTHS = {"true": True, "false": False}
_JOINERS = ("AND", "OR")

_REMEMBERED_LENGTH = 512
"""Characters of what is remembered: a tree takes some twenty times the memory of its text."""

_Leaf = Callable[[], Expression]


def parse(text: str) -> Expression | None:
    """Return the tree of a filter; None where it is empty, so that everything matches.

    Raises:
        InvalidRequest: it is no filter, or a longer one than allowed. The message names the position and what was
            expected there.
    """
    size = len(text.encode())
    if size > MAX_FILTER_BYTES:
        raise InvalidRequest(FILTER_FIELD, f"takes {size} bytes, at most {MAX_FILTER_BYTES} allowed")
    if not text.strip():
        return None
    return _remembered(text) if len(text) <= _REMEMBERED_LENGTH else _parsed(text)


def _parsed(text: str) -> Expression:
    expression = _Parser(text).whole()
    check(FILTER_FIELD, expression)
    return expression


# Callers ask by a few filters again and again, and to read one takes as long as to evaluate it: 100 us.
_remembered = functools.lru_cache(maxsize=256)(_parsed)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = Tokens(text)
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._expression(self._restriction, value=False)
        end = self._tokens.peek()
        if end.kind is not Kind.END:
            raise unexpected(end, "AND, OR or the end")
        return expression

    def _expression(self, leaf: _Leaf, *, value: bool) -> Expression:
        """Return what is up to a closing parenthesis or the end; `leaf` reads a part, which of values are words."""
        parts = [self._factor(leaf, value=value)]
        while (token := self._tokens.peek(value=value)).kind not in (Kind.CLOSE, Kind.END):
            if _is_word(token, "AND"):
                self._tokens.take(value=value)
            parts.append(self._factor(leaf, value=value))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _factor(self, leaf: _Leaf, *, value: bool) -> Expression:
        parts = [self._term(leaf, value=value)]
        while _is_word(self._tokens.peek(value=value), "OR"):
            self._tokens.take(value=value)
            parts.append(self._term(leaf, value=value))
        return _either(parts)

    def _term(self, leaf: _Leaf, *, value: bool) -> Expression:
        token = self._tokens.peek(value=value)
        negated = token.kind is Kind.MINUS or _is_word(token, "NOT")
        if negated:
            self._tokens.take(value=value)
            token = self._tokens.peek(value=value)
        part = self._parenthesised(leaf, value=value) if token.kind is Kind.OPEN else leaf()
        return Not(part) if negated else part

    def _parenthesised(self, leaf: _Leaf, *, value: bool) -> Expression:
        opened = self._tokens.take(value=value)
        self._depth += 1
        # The limit on the tree counts differently, and comes too late for Python's own stack.
        if self._depth > MAX_DEPTH:
            raise error(opened.start, f"more than {MAX_DEPTH} parentheses within each other")
        part = self._expression(leaf, value=value)
        closed = self._tokens.take(value=value)
        if closed.kind is not Kind.CLOSE:
            raise unexpected(closed, f"')' for the '(' at character {opened.start + 1}")
        self._depth -= 1
        return part

    def _restriction(self) -> Expression:
        field = self._field()
        token = self._tokens.take()
        if token.kind is not Kind.COMPARATOR:
            raise unexpected(token, f"one of = != < <= > >= : after {field}")
        operator = Operator(token.text)

        def compared() -> Expression:
            return _compared(field, operator, self._tokens.take(value=True))

        if self._tokens.peek(value=True).kind is Kind.OPEN:
            return self._parenthesised(compared, value=True)
        return compared()

    def _field(self) -> str:
        first = self._tokens.take()
        if first.kind is not Kind.WORD or first.text in _JOINERS:
            raise unexpected(first, "a field")
        names: list[str] = []
        while self._tokens.peek().kind is Kind.DOT:
            self._tokens.take()
            name = self._tokens.take()
            if name.kind not in (Kind.WORD, Kind.QUOTED):
                raise unexpected(name, "a name after '.'")
            names.append(_unescaped(name) if name.kind is Kind.QUOTED else name.text)
        if first.text == CATEGORY and not names:
            return CATEGORY
        if first.text + "." == ATTRIBUTES and any(names):
            return ATTRIBUTES + ".".join(names)
        raise error(first.start, f"no field of this name: use {CATEGORY}, or {ATTRIBUTES}NAME")


def _compared(field: str, operator: Operator, token: Token) -> Expression:
    """Return the comparison of a field with the value that `token` is."""
    if token.kind not in (Kind.WORD, Kind.QUOTED):
        raise unexpected(token, "a value")
    if token.kind is Kind.WORD and token.text == "*" and operator is Operator.HAS:
        return Exists(field)
    if token.kind is Kind.WORD and token.text in (*_JOINERS, "NOT"):
        raise error(token.start, f"expected a value, found {token.text}: quote it where it is one")
    if _STAR.search(token.text):
        return _begins(field, operator, token)
    text = _unescaped(token)
    if token.kind is Kind.WORD:
        return Compare(field, operator, _literal(token, text))
    time = _time(token, text)
    # Callers that know AIP-160 quote times; a field may hold texts that look like them.
    return (
        Compare(field, operator, text) if time is None else _either([Compare(field, operator, v) for v in (time, text)])
    )


def _begins(field: str, operator: Operator, token: Token) -> Expression:
    head = token.text[:-1]
    if operator is not Operator.EQUAL or not token.text.endswith("*") or _STAR.search(head):
        raise error(
            token.start, r"a * means any ending, behind = and at a text's end: write \* for the character itself"
        )
    prefix = Token(token.kind, head, token.start, token.end - 1)
    return Compare(field, Operator.PREFIX, _unescaped(prefix))


def _literal(token: Token, text: str) -> Attribute:
    if text in _TRUTHS:
        return _TRUTHS[text]
    if _WHOLE.fullmatch(text):
        # Python reads no more than some thousands of digits, and no number has as many.
        return int(text) if len(text) <= 400 else float(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    time = _time(token, text)
    if time is None and _DATE.match(text):
        raise error(token.start, "write a time as 2026-03-01T12:00:00Z, and quote what is a text")
    return text if time is None else time


def _time(token: Token, text: str) -> datetime.datetime | None:
    """Return the time that `text` is in RFC 3339, to the microsecond; None where it isn't of that form."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, hours, fraction, zone = found.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        time = datetime.datetime.fromisoformat(f"{day}T{hours}.{(fraction or '0')[:6].ljust(6, '0')}{zone}")
        return time.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as reason:
        if token.kind is Kind.QUOTED:
            return None
        raise error(token.start, f"{text} is no time that there is: {reason}") from reason


def _unescaped(token: Token) -> str:
    return _ESCAPED.sub(r"\1", token.text)


def _either(parts: list[Expression]) -> Expression:
    """Return that one of `parts` holds. Many equalities of one field are one question."""
    fields = {part.field for part in parts if isinstance(part, Compare) and part.operator is Operator.EQUAL}
    equalities = [part.operand for part in parts if isinstance(part, Compare) and part.operator is Operator.EQUAL]
    if len(parts) > 1 and len(fields) == 1 and len(equalities) == len(parts):
        return In(fields.pop(), tuple(equalities))
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def _is_word(token: Token, word: str) -> bool:
    return token.kind is Kind.WORD and token.text == word
