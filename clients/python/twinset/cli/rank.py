"""`twinset rank`: in which order a user should see things."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from twinset.cli.problem import Problem
from twinset.cli.session import Server, session
from twinset.ranking import Act, RankedItem, Ranking, Rerank


def rank(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="A user's id.")] = None,
    history: Annotated[
        str | None,
        typer.Option(metavar="ID,...", help="Instead of a user: what somebody liked, in its order; stored nowhere."),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option(metavar="ID,...", help="Items to put in order. [default: the best of all]")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 10,
    filter_text: Annotated[
        str, typer.Option("--filter", metavar="TEXT", help="Which items may be returned; see docs/filters.md.")
    ] = "",
    unseen: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,...",
            help="Leave out items of acts of these kinds, such as buy; '*' for all, '' for none. [default: '*' with "
            "--history, '' with a user]",
        ),
    ] = None,
    looks: Annotated[
        float, typer.Option(metavar="WEIGHT", min=0, max=1, help="How much looks count beside taste, 0 to 1.")
    ] = 0.0,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Let the best be scored again by the interaction model of the factors.")
    ] = False,
    rerank_model: Annotated[str, typer.Option(metavar="NAME", help="The same, by this interaction model.")] = "",
    rerank_candidates: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The same, at so many. [default: all given, 500 of those searched for]"),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every item.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all that the server told.")] = False,
    server: Server = None,
) -> None:
    """Print items in the order in which a user should see them, and what the order stands on.

    What somebody did with --history says what they like, not what to show again: its own items are left out.

    Examples: `twinset rank ann --unseen buy`, `twinset rank --history shoe/1,hat/7 -k 5`, `twinset rank ann --rerank`
    """
    if (user is None) == (history is None):
        raise Problem("rank takes a user's id, or --history with ids of what somebody liked")
    if unseen is None:
        unseen = "" if history is None else "*"
    again = Rerank(rerank_model, rerank_candidates) if rerank or rerank_model or rerank_candidates else False
    with session(context).connect(server) as client:
        ranking = client.rank_for_user(
            user if user is not None else [Act(item_id) for item_id in _names(history or "")],
            None if candidates is None else _names(candidates),
            k=k,
            filter=filter_text,
            exclude_seen=_names(unseen),
            visual_weight=looks,
            rerank=again,
            exact=exact,
            view="basic",
            explain=True,
        )
    if as_json:
        typer.echo(json.dumps(_as_json(ranking), indent=2, ensure_ascii=False))
        return
    for place, one in enumerate(ranking, start=1):
        title = f"  {one.item.title}" if one.item.title else ""
        typer.echo(f"{place:>4} {one.item.id}  {one.score:.4f}  {_parts(one)}{title}")
    typer.echo(_summary(ranking))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _told(one: RankedItem) -> list[tuple[str, float | int | None]]:
    return [("rerank", one.rerank), ("taste", one.taste), ("looks", one.visual), ("likes", one.likes)]


def _parts(one: RankedItem) -> str:
    parts = [
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in _told(one)
        if value is not None
    ]
    return f"{one.basis} ({', '.join(parts)})"


def _summary(ranking: Ranking) -> str:
    factors = ""
    if ranking.factors_generation:
        factors = f", generation {ranking.factors_generation} of factors ({ranking.factors_fingerprint[:8]})"
    compared = "all compared" if ranking.exact else f"{ranking.candidates_examined:,} compared"
    if ranking.reranked_count:
        compared += f", {ranking.reranked_count:,} scored again by {ranking.rerank_model}"
    return f"by {ranking.rung} of {ranking.acts_used} acts{factors}, {compared}; answer {ranking.recommendation_id}"


def _as_json(ranking: Ranking) -> dict[str, Any]:
    return {
        "rung": ranking.rung,
        "acts_used": ranking.acts_used,
        "factors_fingerprint": ranking.factors_fingerprint,
        "factors_generation": ranking.factors_generation,
        "exact": ranking.exact,
        "candidates_examined": ranking.candidates_examined,
        "sequence": ranking.sequence,
        "recommendation_id": ranking.recommendation_id,
        "rerank_model": ranking.rerank_model,
        "reranked_count": ranking.reranked_count,
        "items": [
            {
                "id": one.item.id,
                "title": one.item.title,
                "score": one.score,
                "basis": one.basis,
                "taste": one.taste,
                "visual": one.visual,
                "likes": one.likes,
                "rerank": one.rerank,
            }
            for one in ranking
        ],
    }
