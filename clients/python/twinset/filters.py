"""Filters as strings: what values look like in them."""

from __future__ import annotations

import datetime

from twinset.items import Attribute


def literal(value: Attribute) -> str:
    """Return a value as it stands in a filter: `f"attributes.brand = {literal(brand)}"` is safe whatever the brand.

    Raises:
        TypeError: the value is several texts, which no filter's string compares with.
    """
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(f"\\{one}" if one in '"\\*' else one for one in value) + '"'
        case datetime.datetime():
            # As in attributes, a time without a zone is UTC.
            return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).isoformat()
    raise TypeError(f"{type(value).__name__} has no literal: compare with a text, a number, a truth or a time")
