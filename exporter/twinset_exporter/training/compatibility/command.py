"""`twinset-exporter train compatibility`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from twinset_exporter.errors import UsageError


class PairMetric(StrEnum):
    """How the two vectors of a pair compare."""

    INNER_PRODUCT = "inner_product"
    EUCLIDEAN = "euclidean"


def compatibility(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="What `embed --outputs features` wrote.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the head and its report go; made if need be.")],
    groups: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="What is shown together, a row for each item: columns room_id, item_id."),
    ] = None,
    group_columns: Annotated[
        str, typer.Option(metavar="GROUP,ITEM", help="The columns of --groups.")
    ] = "room_id,item_id",
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Pairs without a row of names: source, then target.")
    ] = None,
    categories: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="The category of each item; the first row names columns.")
    ] = None,
    category_columns: Annotated[
        str, typer.Option(metavar="ID,CATEGORY", help="The columns of --categories.")
    ] = "id,category",
    delimiter: Annotated[str, typer.Option(metavar="TEXT", help="Between the fields of all files.")] = ",",
    metric: Annotated[PairMetric, typer.Option(help="How two vectors compare.")] = PairMetric.INNER_PRODUCT,
    prior: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of true pairs that probabilities are to hold for.")
    ] = 0.5,
    tied: Annotated[bool, typer.Option("--tied", help="One side for both: no pair differs from its reverse.")] = False,
    landmarks: Annotated[
        int, typer.Option(metavar="N", min=0, help="Items that others are compared with; 0 for a linear head.")
    ] = 2048,
    same_category: Annotated[
        float, typer.Option(metavar="WEIGHT", min=0, help="Of pairs whose target is another of its category; try 8.")
    ] = 0.0,
    softmax: Annotated[
        float, typer.Option(metavar="WEIGHT", min=0, help="Of telling a target from the others of a batch; try 0.5.")
    ] = 0.0,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Passes over the pairs, at most.")] = 12,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures for the report, named by id.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the folds and of all chance.")] = 0,
) -> None:
    """Train a head that knows what goes together, from groups such as rooms or from directed pairs.

    Pairs of the ten folds held back tell how many epochs are best, and calibrate; then a network is trained on all.
    Of 20,000 pairs or more a tenth validates, and that network serves. A head trained with categories takes an item's
    category as a second input, and does without where none is given.

    DIR gets the head as `compatibility.keras`, `heads.toml` for `export --heads`, `metrics.json` and `report.html`.

    Example: `twinset-exporter train compatibility vectors --groups rooms.csv --categories items.csv --category-columns
    id,type --output run`
    """
    # Here, so that --help doesn't wait for it.
    from twinset.contract import Metric
    from twinset_exporter.training.compatibility import run
    from twinset_exporter.training.compatibility.trainer import Recipe

    if (groups is None) == (pairs is None):
        raise UsageError("give either --groups or --pairs: they say what goes together")
    if not 0 < prior < 1:
        raise UsageError(f"--prior {prior}: a share of true pairs lies between 0 and 1, and is neither")
    request = run.Request(
        features=features,
        groups=None if groups is None else run.Table(groups, _two("--group-columns", group_columns), delimiter),
        pairs=None if pairs is None else run.Table(pairs, (0, 1), delimiter),
        categories=None
        if categories is None
        else run.Table(categories, _two("--category-columns", category_columns), delimiter),
        recipe=Recipe(
            metric=Metric(metric.value),
            tied=tied,
            landmarks=landmarks,
            same_category=same_category,
            softmax=softmax,
            epochs=epochs,
        ),
        prior=prior,
        pictures=pictures,
        seed=seed,
    )
    typer.echo(run.run(request, output))


def _two(option: str, text: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not (first and comma and second) or "," in second:
        raise UsageError(f"{option} {text!r}: name two columns, with a comma between them")
    return first, second
