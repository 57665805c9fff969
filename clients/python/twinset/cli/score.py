"""`twinset score`: whether two things go together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from twinset.cli.problem import Problem, picture_fault
from twinset.cli.report import console, print_json, scores_table
from twinset.cli.session import Server, session
from twinset.cli.sheet import SheetRow
from twinset.cli.sides import scoring_json, shown, side_of, write_page
from twinset.errors import TwinsetError
from twinset.pairs import PairScore, ScoredPair


def score(
    context: typer.Context,
    left: Annotated[str | None, typer.Argument(metavar="LEFT", help="The item that comes first.")] = None,
    right: Annotated[str | None, typer.Argument(metavar="RIGHT", help="The item that is put beside it.")] = None,
    left_image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A picture in the place of LEFT; the only id is RIGHT then.")
    ] = None,
    left_category: Annotated[str, typer.Option(metavar="NAME", help="Of what --left-image shows.")] = "",
    right_image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture in the place of RIGHT.")] = None,
    right_category: Annotated[str, typer.Option(metavar="NAME", help="Of what --right-image shows.")] = "",
    both: Annotated[bool, typer.Option("--both", help="Score the pair the other way round, too.")] = False,
    prior: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of true pairs among those asked about. [default: the model's]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the pictures.")] = None,
    server: Server = None,
) -> None:
    """Show the probability that two items or pictures go together.

    It needs a model with a compatibility head; `twinset status` tells whether one serves. Pairs are directed: the
    probability from LEFT to RIGHT isn't that from RIGHT to LEFT.

    Examples: `twinset score sofa lamp --both`, `twinset score --left-image photo.jpg --left-category Sofa lamp`
    """
    if json and html:
        raise Problem("score takes --json or --html, not both")
    if left_image is not None and right is None and right_image is None:
        left, right = None, left
    one = side_of(left, left_image, left_category, "left")
    other = side_of(right, right_image, right_category, "right")
    with session(context).connect(server) as client:
        try:
            found = client.score_pair(one, other, both_directions=both, prior=prior)
        except TwinsetError as error:
            if (fault := picture_fault(error)) is None:
                raise
            image = left_image if error.field.startswith("left") else right_image
            raise Problem(f"{image}: {fault}") from error
        names = (left or str(left_image), right or str(right_image))
        if html is not None:
            first, second = shown(client, one, left_image), shown(client, other, right_image, found.score.probability)
            rows = [SheetRow(first, [second])]
            if found.reverse is not None:
                back = shown(client, one, left_image, found.reverse.probability)
                rows.append(SheetRow(shown(client, other, right_image), [back]))
            facts = {"server": client.server, "model": found.scoring.model, "prior": f"{found.scoring.prior:g}"}
            write_page(html, rows, "Pairs", f"how likely {names[1]} goes with {names[0]}", facts)
            return
    if json:
        print_json(_json(names, found))
        return
    console().print(scores_table(names, found))


def _json(names: tuple[str, str], found: ScoredPair) -> dict[str, Any]:
    return {
        "left": names[0],
        "right": names[1],
        "score": _score_json(found.score),
        "reverse": None if found.reverse is None else _score_json(found.reverse),
        "scoring": scoring_json(found.scoring),
        "left_category_unknown": found.left_category_unknown,
        "right_category_unknown": found.right_category_unknown,
        "sequence": found.sequence,
        "recommendation_id": found.recommendation_id,
    }


def _score_json(score: PairScore) -> dict[str, Any]:
    return {
        "probability": score.probability,
        "distance": score.distance,
        "left_picture_id": score.left_picture_id,
        "right_picture_id": score.right_picture_id,
    }
