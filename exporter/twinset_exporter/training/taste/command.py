"""`twinset-exporter train taste`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinset_exporter.errors import UsageError

if TYPE_CHECKING:
    from twinset_exporter.datasets.interactions import Columns


def taste(
    interactions: Annotated[
        Path, typer.Argument(metavar="FILE", help="Who acted on what: a .csv or .parquet file; see --columns.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for factors, models and report.")],
    columns: Annotated[
        str,
        typer.Option(
            metavar="USER,ITEM[,VALUE[,TIME]]",
            help="Names of the columns, or, where a CSV has no row of names, their places from 0.",
        ),
    ] = "user,item",
    delimiter: Annotated[
        str, typer.Option(metavar="TEXT", help="Between the fields of a CSV, such as '|'; 'tab' for the tabulator.")
    ] = ",",
    liked_from: Annotated[
        float | None,
        typer.Option(metavar="VALUE", help="A value from here on is a like. [default: every act is one]"),
    ] = None,
    core: Annotated[
        int, typer.Option(metavar="N", min=1, help="Leave out users and items with fewer acts than this.")
    ] = 5,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Features of the items' pictures, from embed: new items get factors from pictures then."
        ),
    ] = None,
    dimension: Annotated[int, typer.Option(min=2, max=1024, help="Of the factors.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="At most; the best number is found on acts held out.")] = 60,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many epochs without a better one.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
) -> None:
    """Train taste factors: a vector for each user and item, whose inner product says how much the user will like it.

    The folder gets `factors`, which a server imports; `interaction.keras`, which ranks a few candidates again
    (`twinset-exporter publish-interaction`); with --features the head `taste.keras`, which gives a new item factors
    from its picture (`twinset-exporter export BACKBONE --heads DIR/heads.toml`); and `report.html`.

    Example: `twinset-exporter train taste ml-100k/u.data --delimiter tab --columns 0,1,2,3 --liked-from 4 --core 1
    --output taste`
    """
    # Here, so that --help doesn't wait for them.
    from twinset_exporter.datasets.interactions import read
    from twinset_exporter.training.taste import two_tower
    from twinset_exporter.training.taste.run import Request, run

    found = read(
        interactions, _columns(columns), delimiter="\t" if delimiter == "tab" else delimiter, core=(core, core)
    )
    settings = two_tower.Settings(dimension=dimension, epochs=epochs, seed=seed)
    request = Request(found, interactions.name, liked_from, settings, patience, features)
    text = run(request, output)
    typer.echo(text)


def _columns(text: str) -> Columns:
    from twinset_exporter.datasets.interactions import Columns

    names = text.split(",")
    if not 2 <= len(names) <= 4 or not all(names):
        raise UsageError(f"--columns {text}: give two to four, as USER,ITEM,VALUE,TIME")
    places = [int(name) if name.isdecimal() else name for name in names]
    try:
        return Columns(*places)
    except ValueError as error:
        raise UsageError(f"--columns {text}: names or places, not both") from error
