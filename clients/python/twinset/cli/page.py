"""What all of twinset's HTML pages share."""

from __future__ import annotations

import importlib.resources


def styles() -> str:
    """Return the style sheet of both themes: colours, header, facts, and rows of a query with what was found."""
    return importlib.resources.files("twinset.cli").joinpath("page.css").read_text(encoding="utf-8")
