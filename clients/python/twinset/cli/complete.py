"""`twinset complete`: what completes a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from twinset.cli.problem import Problem
from twinset.cli.report import console, item_json, print_json, slots_table
from twinset.cli.session import Server, session
from twinset.cli.sheet import SheetItem, SheetRow, stored_item
from twinset.cli.sides import picture_side, scoring_json, shown, write_page
from twinset.client import Client
from twinset.errors import TwinsetError
from twinset.pairs import CompletedSet, Side, Slot, SlotItem


def complete(
    context: typer.Context,
    items: Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="What there is.")] = None,
    slot: Annotated[
        list[str] | None, typer.Option(metavar="CATEGORY", help="What is missing. May be repeated; the order counts.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A picture of what there is, too. May be repeated.")
    ] = None,
    filter: Annotated[  # noqa: A002 - the option's name
        str, typer.Option(metavar="FILTER", help="Only items like 'attributes.price < 50', in every slot.")
    ] = "",
    exclude: Annotated[list[str] | None, typer.Option(metavar="ID", help="Never this item. May be repeated.")] = None,
    alternatives: Annotated[int, typer.Option(min=0, max=100, metavar="N", help="Others to tell for each slot.")] = 3,
    beam: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="Unfinished sets that are kept at each slot.")
    ] = 50,
    both: Annotated[bool, typer.Option("--both", help="Count each pair both ways.")] = False,
    prior: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of true pairs among those asked about. [default: the model's]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures.")] = None,
    server: Server = None,
) -> None:
    """Show the items that complete a set: one for each category that is missing.

    The best set has the highest sum of log P over all pairs of what there is with what is chosen, and of two chosen
    ones. Alternatives are told with the set's score if they took the place of the chosen one.

    Examples: `twinset complete sofa --slot Rug --slot 'Floor lamp'`,
    `twinset complete --image room.jpg --slot Chair --filter 'attributes.price < 50' --html set.html`
    """
    given = [Side(item=item) for item in items or ()] + [picture_side(path) for path in image or ()]
    if not given or not slot:
        raise Problem("complete takes what there is, as ids or --image FILE, and what is missing, as --slot CATEGORY")
    if json and html:
        raise Problem("complete takes --json or --html, not both")
    with session(context).connect(server) as client:
        try:
            found = client.complete_set(
                given,
                [Slot(name, filter) for name in slot],
                both_directions=both,
                beam=beam,
                alternatives=alternatives,
                exclude=exclude or (),
                prior=prior,
                view="basic",
            )
        except TwinsetError as error:
            path = _at_fault(error, [None] * len(items or ()) + list(image or ()))
            if path is None:
                raise
            raise Problem(f"{path}: {error.message.removeprefix(f'{error.field}: ')}") from error
        if html is not None:
            pictures = [None] * len(items or ()) + list(image or ())
            there = [shown(client, side, path) for side, path in zip(given, pictures, strict=True)]
            facts = {
                "server": client.server,
                "model": found.scoring.model,
                "sum of log P": f"{found.score:.3f} over {found.pair_count} pairs",
                "search": "exact" if found.exact else f"beam of {beam}",
            }
            write_page(html, list(_rows(client, there, found)), "Completed set", ", ".join(slot), facts)
            return
    if json:
        print_json(_json(slot, found))
    else:
        console().print(slots_table(slot, found))


def _at_fault(error: TwinsetError, pictures: Sequence[Path | None]) -> Path | None:
    """Return the picture that the server can't take, None where the error is about something else."""
    fields = (f"given[{place}].picture" for place in range(len(pictures)))
    return next((path for field, path in zip(fields, pictures, strict=True) if error.field == field), None)


def _rows(client: Client, there: Sequence[SheetItem], found: CompletedSet) -> Iterator[SheetRow]:
    """Yield the set, and then each chosen item with what could stand in its place."""
    chosen = [
        stored_item(client, slot.chosen.item, slot.chosen.item_score) for slot in found.slots if slot.chosen is not None
    ]
    yield SheetRow(there[0], [*there[1:], *chosen])
    for slot in found.slots:
        if slot.chosen is not None and slot.alternatives:
            others = [stored_item(client, one.item, one.set_score) for one in slot.alternatives]
            yield SheetRow(stored_item(client, slot.chosen.item, slot.chosen.set_score), others)


def _json(names: Sequence[str], found: CompletedSet) -> dict[str, Any]:
    return {
        "slots": [
            {
                "category": name,
                "chosen": None if slot.chosen is None else _item_json(slot.chosen),
                "alternatives": [_item_json(one) for one in slot.alternatives],
                "candidates_examined": slot.candidates_examined,
            }
            for name, slot in zip(names, found.slots, strict=True)
        ],
        "score": found.score,
        "pair_count": found.pair_count,
        "exact": found.exact,
        "scoring": scoring_json(found.scoring),
        "category_unknown_given": list(found.category_unknown_given),
        "sequence": found.sequence,
        "recommendation_id": found.recommendation_id,
    }


def _item_json(one: SlotItem) -> dict[str, Any]:
    return {"item": item_json(one.item), "set_score": one.set_score, "item_score": one.item_score}
