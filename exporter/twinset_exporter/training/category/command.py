"""`twinset-exporter train category` and `train backbone`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinset.folder import IdRule
from twinset_exporter.errors import UsageError

if TYPE_CHECKING:
    from twinset_exporter.training.category.run import Outcome, Request


class Method(StrEnum):
    """How to train the head."""

    BEST = "best"
    PUBLISHED = "published"
    CONTRASTIVE = "contrastive"
    ARCFACE = "arcface"
    PROXY_ANCHOR = "proxy_anchor"


_Pictures = Annotated[Path, typer.Argument(metavar="PICTURES", help="Folder of pictures, named by item.")]
_Labels = Annotated[
    Path, typer.Option(metavar="FILE.csv", help="A row for each item; the first row names the columns.")
]
_Label = Annotated[str, typer.Option(metavar="COLUMN", help="The column of the class to learn.")]
_Output = Annotated[Path, typer.Option(metavar="DIR", help="Where the head and its report go; made if need be.")]
_IdColumn = Annotated[str, typer.Option(metavar="COLUMN", help="The column of the items' ids.")]
_Delimiter = Annotated[str, typer.Option(metavar="TEXT", help="Between the fields of FILE.csv.")]
_IdRule = Annotated[
    IdRule,
    typer.Option(
        "--id", help="As embed's: the picture's path below PICTURES without extension, its name, or its stem."
    ),
]
_Neighbours = Annotated[int, typer.Option(metavar="K", min=1, help="Precision is judged among so many.")]
_Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the split and of all chance.")]


def category(
    pictures: _Pictures,
    labels: _Labels,
    label: _Label,
    features: Annotated[
        Path, typer.Option(metavar="DIR", help="What `embed --outputs features` wrote of these pictures.")
    ],
    output: _Output,
    id_column: _IdColumn = "id",
    delimiter: _Delimiter = ",",
    id_rule: _IdRule = "path",
    method: Annotated[
        Method, typer.Option(help="How to train; best tries them all, and takes the best by validation.")
    ] = Method.BEST,
    neighbours: _Neighbours = 10,
    seed: _Seed = 0,
) -> None:
    """Train a head that knows what an item is, and in whose space items of one class lie together.

    A fifth of the items validates; items with the same picture stay together. Without a label an item is left out.
    Run the same command again after Ctrl-C: it goes on where it was.

    DIR gets the head as category.keras, heads.toml for `export --heads`, metrics.json and report.html.

    Example: `twinset-exporter train category photos --labels items.csv --label type --features vectors --output run`
    """
    # Here, so that --help doesn't wait for it.
    from twinset_exporter.training.category import run, selection

    recipes = [one for one in selection.RECIPES if method in (Method.BEST, one.name)]
    request = _request(pictures, labels, label, id_column, delimiter, id_rule, neighbours, seed)
    outcome = run.train_head(request, features, recipes, output)
    _tell(request, outcome, output)
    typer.echo(f"twinset-exporter export BACKBONE --heads {output / 'heads.toml'} publishes it")


def backbone(
    pictures: _Pictures,
    labels: _Labels,
    label: _Label,
    output: _Output,
    name: Annotated[
        str, typer.Option("--backbone", metavar="BACKBONE", help="Which; `export --help` lists them.")
    ] = "efficientnet_lite0",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its trained weights. [default: those in the box]")
    ] = None,
    after: Annotated[str, typer.Option(metavar="LAYER", help="What lies after this layer is trained.")] = "block3b_add",
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS", help="Side of the pictures: half of it is four times as fast. [default: its own]"
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="At most.")] = 10,
    id_column: _IdColumn = "id",
    delimiter: _Delimiter = ",",
    id_rule: _IdRule = "path",
    neighbours: _Neighbours = 10,
    seed: _Seed = 0,
) -> None:
    """Train a category head and the last blocks of its backbone together: slower than the head alone, and better.

    The same as `train category` otherwise, on pictures instead of features. DIR gets backbone.keras too.

    Example: `twinset-exporter train backbone photos --labels items.csv --label type --size 128 --output run`
    """
    # Here, so that --help doesn't wait for it.
    from twinset_exporter.backbones.registry import BACKBONES
    from twinset_exporter.training.category import run, tuning
    from twinset_exporter.weights import FileWeights

    if name not in BACKBONES:
        raise UsageError(f"no backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    chosen = BACKBONES[name]
    file = weights or chosen.packaged_weights
    if file is None:
        raise UsageError(f"{name} has no weights in the box: give trained ones with --weights FILE")
    side = size or chosen.size
    if side < chosen.smallest_size:
        raise UsageError(f"--size {side}: {name} takes {chosen.smallest_size} pixels or more")
    request = _request(pictures, labels, label, id_column, delimiter, id_rule, neighbours, seed)
    settings = tuning.Tuning(after, tuning.learning(epochs))
    outcome = run.tune_backbone(request, settings, chosen, FileWeights(file), side, output)
    _tell(request, outcome, output)
    typer.echo(
        f"twinset-exporter export {name} --weights {output / run.BACKBONE_FILE} --size {side} "
        f"--heads {output / 'heads.toml'} publishes both"
    )


def _request(
    pictures: Path,
    labels: Path,
    label: str,
    id_column: str,
    delimiter: str,
    id_rule: IdRule,
    neighbours: int,
    seed: int,
) -> Request:
    from twinset_exporter import tensorflow_noise
    from twinset_exporter.training.category.items import Source
    from twinset_exporter.training.category.run import Request

    tensorflow_noise.silence()
    return Request(Source(pictures, labels, label, id_column, delimiter, id_rule), neighbours, seed)


def _tell(request: Request, outcome: Outcome, output: Path) -> None:
    from twinset_exporter.training.category import recipe

    typer.echo(f"{'features as they are':24}precision@{request.k} {outcome.plain:.4f}")
    for one in outcome.candidates:
        told = f"{one.recipe.name:24}precision@{request.k} {one.figures[recipe.PRECISION]:.4f}"
        told += f"  accuracy {one.figures[recipe.ACCURACY]:.4f}  epoch {one.history.best}"
        typer.echo(f"{told}  {one.history.seconds:.1f} s{'  taken' if one is outcome.best else ''}")
    typer.echo(output / "report.html")
