"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import datetime
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinset.embeddings import Embedding
from twinset.filters import literal
from twinset.items import Catalog, Item, Model
from twinset.pairs import CompletedSet, ScoredPair
from twinset.recommendations import Explanation, Recommendations

# In a pipe there is no width, and a table of 80 columns would cut the ids that the reader came for.
_PIPE_COLUMNS = 240


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr that prints texts as they are."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    return Console(stderr=stderr, width=width, markup=False, highlight=False, soft_wrap=True)


def legible(text: str | Path) -> str:
    """Return a text that is safe on a terminal: titles come from anyone, and file names may be any bytes."""
    shown = os.fsencode(str(text)).decode("utf-8", "replace")
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" else c for c in shown)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: `1 item`, `2,000 items`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_json(value: Any) -> None:
    """Print one value on one line."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def recommendations_table(answer: Recommendations) -> Table:
    """Return the answer as a table: rank, score, the shares of examples and the probability where told, id, ..."""
    shares = [f"share {place + 1}" for place in range(len(answer.examples))]
    pairs = ["probability"] if any(found.probability is not None for found in answer) else []
    right = ("rank", "score", *shares, *pairs)
    table = _table("rank", "score", *shares, *pairs, "id", "category", "title", right=right)
    for rank, found in enumerate(answer, start=1):
        item, explained = found.item, found.explanation
        told = [] if explained is None else [f"{one.share:+.4f}" for one in explained.contributions]
        if pairs:
            told.append("" if found.probability is None else f"{found.probability:.3f}")
        _add(table, str(rank), f"{found.score:.4f}", *told, item.id, category_text(item), item.title)
    return table


def recommendations_json(query: Mapping[str, object], answer: Recommendations) -> dict[str, Any]:
    """Return the answer as JSON values."""
    return {
        "query": dict(query),
        "space": answer.space,
        "metric": answer.metric.value,
        "fingerprint": answer.fingerprint,
        "exact": answer.exact,
        "candidates_examined": answer.candidates_examined,
        "method": answer.plan.method,
        "sequence": answer.sequence,
        "recommendations": [
            {
                "rank": rank,
                "item_id": found.item.id,
                "score": found.score,
                "distance": found.distance,
                "picture_id": found.picture_id,
                "category": found.item.category,
                "title": found.item.title,
                "uri": found.item.uri,
                **({} if found.probability is None else {"probability": found.probability}),
                **({} if found.group is None else {"group": _plain(found.group)}),
                **({} if found.explanation is None else {"contributions": _contributions(found.explanation)}),
            }
            for rank, found in enumerate(answer, start=1)
        ],
        **({"next_page_token": answer.next_page_token} if answer.next_page_token else {}),
        "matching_count": answer.matching_count,
        "facets": {
            name: {
                "counts": [{"value": _plain(value), "count": count} for value, count in facet.counts],
                "distinct_count": facet.distinct_count,
                "missing_count": facet.missing_count,
            }
            for name, facet in answer.facets.items()
        },
    }


def scores_table(names: tuple[str, str], found: ScoredPair) -> Table:
    """Return a pair's scores as a table: probability, distance, left, right."""
    table = _table("probability", "distance", "left", "right", right=("probability", "distance"))
    directions = [(found.score, names), (found.reverse, names[::-1])]
    for score, (left, right) in directions:
        if score is not None:
            _add(table, f"{score.probability:.4f}", f"{score.distance:.4f}", left, right)
    return table


def slots_table(names: Sequence[str], found: CompletedSet) -> Table:
    """Return a set as a table: each slot with the chosen item, then its alternatives."""
    table = _table("slot", "", "set score", "id", "category", "title", right=("set score",))
    for name, slot in zip(names, found.slots, strict=True):
        if slot.chosen is None:
            _add(table, name, "nothing fits", "", "", "", "")
            continue
        for one in (slot.chosen, *slot.alternatives):
            place = (name, "chosen") if one is slot.chosen else ("", "or")
            _add(table, *place, f"{one.set_score:.4f}", one.item.id, category_text(one.item), one.item.title)
    return table


def _contributions(explanation: Explanation) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in asdict(one).items() if value is not None} for one in explanation.contributions
    ]


def facets_table(answer: Recommendations) -> Table:
    """Return the counts of values as a table: field, value, items."""
    table = _table("field", "value", "items", right=("items",))
    for name, facet in answer.facets.items():
        for value, count in facet.counts:
            _add(table, name, literal(value), f"{count:,}")
        _add(table, name, "(none)", f"{facet.missing_count:,}")
    return table


def predictions_table(found: Iterable[tuple[str, Embedding]]) -> Table:
    """Return the classes of pictures by name as a table: picture, output, class, probability."""
    table = _table("picture", "output", "class", "probability", right=("probability",))
    for name, one in found:
        for output, predictions in one.predictions.items():
            for prediction in predictions:
                _add(table, name, output, prediction.class_name, f"{prediction.probability:.4f}")
    return table


def items_table(items: Iterable[Item]) -> Table:
    """Return the items as a table: id, category, title, pictures, time of the last put."""
    table = _table("id", "category", "title", "pictures", "put", right=("pictures",))
    for item in items:
        put = f"{item.updated.astimezone():%Y-%m-%d %H:%M:%S}" if item.updated else ""
        _add(table, item.id, category_text(item), item.title, str(len(item.pictures)), put)
    return table


def category_text(item: Item) -> str:
    """Return the item's category, with its probability where it was predicted: `sofa (predicted, 0.93)`."""
    if item.category_probability is None:
        return item.category
    return f"{item.category} (predicted, {item.category_probability:.2f})"


def item_json(item: Item) -> dict[str, Any]:
    """Return an item as JSON values, without vectors and contents.

    Attributes stand in the order of their names: on the wire they have none, and equal items are to print alike.
    """
    return {
        "id": item.id,
        "title": item.title,
        "uri": item.uri,
        "category": item.category,
        **({} if item.category_probability is None else {"category_probability": item.category_probability}),
        "attributes": {name: _plain(value) for name, value in sorted(item.attributes.items())},
        "pictures": [
            {
                "id": picture.id,
                "media_type": picture.media_type,
                "width": picture.width,
                "height": picture.height,
                "sha256": picture.sha256,
                "size_bytes": picture.size_bytes,
                "stored": picture.stored,
            }
            for picture in item.pictures
        ],
        "etag": item.etag,
        "sequence": item.sequence,
        "created": _plain(item.created),
        "updated": _plain(item.updated),
    }


def status_tables(server: str, catalog: Catalog) -> list[Table]:
    """Return the state of a server as two tables: counts, and spaces."""
    counts = Table.grid(padding=(0, 2))
    counts.add_column(style="dim")
    counts.add_column(overflow="fold")
    for name, value in (
        ("server", f"{server}, version {catalog.server_version}"),
        ("items", f"{catalog.item_count:,}"),
        ("pictures", f"{catalog.picture_count:,}"),
        ("users", f"{catalog.user_count:,}"),
        ("interactions", f"{catalog.interaction_count:,}"),
        ("sequence", f"{catalog.sequence:,}"),
        *_model_rows(catalog.model),
    ):
        _add(counts, name, value)
    spaces = _table(
        "space", "dimension", "metric", "vectors", "generation", "newer", "model", "fingerprint",
        right=("dimension", "vectors", "generation", "newer"),
    )  # fmt: skip
    for space in catalog.spaces:
        _add(
            spaces,
            space.name,
            f"{space.dimension:,}",
            space.metric.value,
            f"{space.vector_count:,}",
            f"{space.index_generation:,}",
            f"{space.delta_count:,}",
            space.model or "(external)",
            space.fingerprint[:12],
        )
    return [counts, spaces]


def _model_rows(model: Model | None) -> Iterator[tuple[str, str]]:
    """Yield what a model does besides filling spaces."""
    if model is None:
        return
    for output, classes in model.classes.items():
        yield f"classes ({output})", ", ".join(classes)
    if model.categories:
        yield f"categories ({', '.join(model.category_spaces)})", ", ".join(model.categories)
    if (pair := model.pair) is not None:
        yield "pair", f"offset {pair.offset:g}, for {pair.prior:.0%} true pairs, calibration error {pair.ece:.3f}"


def status_json(server: str, catalog: Catalog) -> dict[str, Any]:
    """Return the state of a server as JSON values."""
    spaces = [{**asdict(space), "metric": space.metric.value} for space in catalog.spaces]
    return {"server": server, **asdict(catalog), "spaces": spaces}


def _table(*names: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*(Text(legible(cell)) for cell in cells))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
