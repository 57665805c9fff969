"""Typed attributes as JSON text, with each type kept exactly: `1` and `1.0` differ, and so do text and time."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence

from twinset_server.domain import MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, Attribute, attribute_bytes
from twinset_server.errors import InvalidRequest

_TIME = "time"


def encode(attributes: Mapping[str, Attribute]) -> str:
    """Return `attributes` as JSON text.

    Raises:
        InvalidRequest: a number isn't finite, a time has no zone, or a value is of another type.
    """
    return _text({name: _to_json(name, value) for name, value in attributes.items()})


def encode_changes(changes: Mapping[str, Attribute | None]) -> str:
    """Return `changes` as JSON text for `merged`; None takes an attribute away.

    Raises:
        InvalidRequest: as of `encode`.
    """
    return _text({name: None if value is None else _to_json(name, value) for name, value in changes.items()})


def merged(text: str, changes: str) -> str:
    """Return what `encode` made `text` of with `changes` applied, again as JSON text.

    Raises:
        InvalidRequest: there would be too many attributes, or too large ones.
    """
    document = json.loads(text) | json.loads(changes)
    left = {name: value for name, value in document.items() if value is not None}
    if len(left) > MAX_ATTRIBUTES:
        raise InvalidRequest("attributes", f"would be {len(left)} with these, at most {MAX_ATTRIBUTES} allowed")
    total = sum(attribute_bytes(name, value_of(value)) for name, value in left.items())
    if total > MAX_ATTRIBUTES_BYTES:
        raise InvalidRequest(
            "attributes", f"would take {total} bytes with these, at most {MAX_ATTRIBUTES_BYTES} allowed"
        )
    return _text(left)


def decode(text: str) -> dict[str, Attribute]:
    """Return the attributes that `encode` made `text` of."""
    return {name: value_of(value) for name, value in parsed(text).items()}


def parsed(text: str) -> dict[str, object]:
    """Return the document that `encode` made `text` of; `value_of` tells what each of its values is.

    Raises:
        ValueError: it is none of `encode`.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("they aren't an object")
    return document


def parsed_each(texts: Sequence[str]) -> list[dict[str, object]]:
    """Return the document of each text, as `parsed` does.

    Raises:
        ValueError: one of them is none of `encode`.
    """
    documents = json.loads(f"[{','.join(texts)}]")
    if len(documents) != len(texts) or not all(type(one) is dict for one in documents):
        raise ValueError("they aren't an object each")
    return list(documents)


def _text(document: Mapping[str, object]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _to_json(name: str, value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            raise InvalidRequest(f"attributes[{name!r}]", f"{value} is not a finite number")
        case str() | bool() | int() | float():
            return value
        case tuple() if all(isinstance(text, str) for text in value):
            return list(value)
        case datetime.datetime() if value.tzinfo is not None:
            return {_TIME: value.astimezone(datetime.UTC).isoformat()}
        case datetime.datetime():
            raise InvalidRequest(f"attributes[{name!r}]", "the time has no zone: give it in UTC")
        case _:
            raise InvalidRequest(f"attributes[{name!r}]", f"{type(value).__name__} is no type of an attribute")


def value_of(value: object) -> Attribute:
    """Return the attribute that a document holds as `value`.

    Raises:
        ValueError: it holds none so.
    """
    match value:
        case list():
            return tuple(value)
        case {"time": str(text)}:
            return datetime.datetime.fromisoformat(text)
        case str() | bool() | int() | float():
            return value
        case _:
            raise ValueError(f"not an attribute: {value!r}")
