"""The page on operations has every setting as the code has it; `python tests/test_settings_page.py` writes it anew."""

from __future__ import annotations

import enum
import json
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from twinset_server.config import ExternalSpace, Settings

PAGE = Path(__file__).parents[1] / "docs/operations.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->"


def table() -> str:
    """Return a row for each setting: name, what it may be, what it is without, and what it does."""
    lines = ["| setting | may be | unless set | what it does |", "|---|---|---|---|"]
    for section, of_section in Settings.model_fields.items():
        if section == "spaces":
            lines += [_row(f"spaces.NAME.{name}", one) for name, one in ExternalSpace.model_fields.items()]
            continue
        kind = of_section.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        lines += [_row(f"{section}.{name}", one) for name, one in kind.model_fields.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    told = "must be set" if default is PydanticUndefined else "unset" if default is None else f"`{_shown(default)}`"
    bounds = [
        f"{word} {getattr(limit, mark):,}"
        for limit in field.metadata
        for mark, word in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(limit, mark, None) is not None
    ]
    return f"| `{name}` | {', '.join([_kind(field.annotation), *bounds])} | {told} | {field.description} |"


def _kind(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{one}`" for one in typing.get_args(annotation))
    if isinstance(annotation, types.UnionType):
        return " or ".join(_kind(one) for one in typing.get_args(annotation) if one is not types.NoneType)
    if typing.get_origin(annotation) is dict:
        return "a table by name"
    if issubclass(annotation, BaseModel):
        return "a table"
    if issubclass(annotation, enum.Enum):
        return ", ".join(f"`{one.value}`" for one in annotation)
    return {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}[annotation]


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value) if isinstance(value, str | Path) else json.dumps(value, default=str)


def _page() -> tuple[str, str, str]:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    held, _, after = rest.partition(END)
    return before, held, after


def test_the_page_has_every_setting_as_the_code_has_it() -> None:
    assert _page()[1] == table()


if __name__ == "__main__":
    head, _, tail = _page()
    PAGE.write_text(f"{head}{BEGIN}{table()}{END}{tail}")
