"""docs/filters.md: what its table says that a filter matches, it matches."""

import datetime
import json
import re
from pathlib import Path

import pytest

from fakes import filters
from twinset_server.domain import Attribute
from twinset_server.filters import bounds, facets
from twinset_server.filters.parse import parse

PAGE = (Path(__file__).parents[3] / "docs" / "filters.md").read_text()
_TIME = re.compile(r"\d{4}-\d\d-\d\dT.*Z")


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table below this header, without the code's quotes."""
    body = PAGE.split(f"| {header} |\n")[1].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()[1:]]
    return [[cell.removeprefix("`").removesuffix("`") for cell in row] for row in cells]


def value(read: object) -> Attribute:
    match read:
        case list():
            return tuple(read)
        case str() if _TIME.fullmatch(read):
            return datetime.datetime.fromisoformat(read)
        case str() | bool() | int() | float():
            return read
    raise TypeError(read)


ITEMS = {
    name: ({"category": json.loads(category)} if json.loads(category) else {})
    | {f"attributes.{field}": value(read) for field, read in json.loads(attributes).items()}
    for name, category, attributes in rows("item | category | attributes")
}


@pytest.mark.parametrize(("text", "names"), [row[:2] for row in rows("filter | matches | because")])
def test_a_filter_matches_the_items_that_the_page_names(text: str, names: str) -> None:
    expression = parse(text)
    assert expression is not None
    assert [name for name, fields in ITEMS.items() if filters.matches(fields, expression)] == names.split()


def test_the_page_names_the_limits_that_are_enforced() -> None:
    limits = dict(rows("limit |"))
    assert limits == {
        "length": f"{bounds.MAX_FILTER_BYTES >> 10} KiB",
        "comparisons": f"{bounds.MAX_COMPARISONS}",
        "values compared with, all together": f"{bounds.MAX_OPERANDS:,}",
        "parts within each other": f"{bounds.MAX_DEPTH}",
        "facets": f"{facets.MAX_FACETS}, of 1 to {facets.MAX_FACET_VALUES:,} values each, "
        f"{facets.DEFAULT_FACET_VALUES} by default",
    }
