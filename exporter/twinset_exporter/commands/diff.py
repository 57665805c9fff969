"""`twinset-exporter diff`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from twinset_exporter.commands.console import DEFAULT_REPOSITORY, RepositoryOption, find, open_console
from twinset_exporter.errors import ExportError

_OF_COURSE = ("model", "made")
"""Differ between any two models."""

_LONGEST = 40


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Name of a model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Name of another.")],
    repository: RepositoryOption = DEFAULT_REPOSITORY,
) -> None:
    """Tell what differs between two models: weights, pipeline, versions, parity, speed, files."""
    from twinset.card import CardError, read_card

    a, b = find(repository, first), find(repository, second)
    try:
        rows = differences(read_card(a.path).content, read_card(b.path).content)
    except CardError as error:
        raise ExportError(f"{error}: export the model again") from error
    console = open_console()
    if a.contract.fingerprint == b.contract.fingerprint:
        console.print("One fingerprint: their vectors compare.")
    else:
        console.print("Two fingerprints: their vectors don't compare.")
    if not rows:
        console.print("Their cards tell no difference.")
        return
    table = Table("what", Column(escape(first), overflow="fold"), Column(escape(second), overflow="fold"), box=None)
    for name, left, right in rows:
        table.add_row(escape(name), _cell(left), _cell(right))
    console.print(table)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return each value that two cards don't share: where it is, and what either has there, None for nothing."""
    left, right = dict(_flat(_condensed(a))), dict(_flat(_condensed(b)))
    return [
        (name, left.get(name), right.get(name))
        for name in {**left, **right}
        if name not in _OF_COURSE and _text(left.get(name)) != _text(right.get(name))
    ]


def _condensed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a card with the worst of its parity: figures of every output at every batch size would hide the rest."""
    return {name: _worst(section) if name in ("parity", "triton") else section for name, section in content.items()}


def _worst(section: Mapping[str, Any]) -> Mapping[str, Any]:
    batches = section.get("batches")
    if batches is None:
        return section  # no Triton was asked
    outputs = [output for batch in batches.values() for output in batch["outputs"].values()]
    return {
        **{key: value for key, value in section.items() if key != "batches"},
        "largest_share": max(output["share"] for output in outputs),
        "smallest_cosine": min(output["smallest_cosine"] for output in outputs),
    }


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested mappings and lists with its path."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from _flat(entry, f"{name}[{place}]")
    else:
        yield name, value


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]-[/dim]"
    text = _text(value)
    return escape(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ...")


def _text(value: Any) -> str:
    """Return a value as it is told; what is told alike is no difference."""
    return f"{value:.7g}" if isinstance(value, float) else str(value)
