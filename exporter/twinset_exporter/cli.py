"""`twinset-exporter`."""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from twinset.images.pipeline import Interpolation, PicturePipeline, Resize
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.embedding.command import embed
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.weights import FileWeights, RandomWeights, Weights

_LARGEST_SIZE = 1024
_PIPE_COLUMNS = 200

_BACKBONES_HELP = "\n".join(f"- {backbone.name}: {backbone.summary}\n" for backbone in BACKBONES.values())

app = typer.Typer(
    help="Turn image networks into models that Triton serves and twinset-server understands.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinset-exporter {distribution_version('twinset')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn image networks into models that Triton serves and twinset-server understands."""


_EXPORT_HELP = f"""Export a backbone into a model repository.

A backbone is an image network cut before its classifier. These are known:

{_BACKBONES_HELP}
The model is compared with Keras on real pictures first, and published only where both agree. What is published never
changes; the same export again does nothing.

Example: `twinset-exporter export efficientnet_lite0 --repository model_repository`
"""

_Repository = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the models; made if need be.")]


app.command()(embed)


@app.command(help=_EXPORT_HELP)
def export(
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help=f"One of: {', '.join(BACKBONES)}.")],
    repository: _Repository = Path("model_repository"),
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Trained weights (.weights.h5, .h5, .keras or .npz) instead of those in the box."
        ),
    ] = None,
    random_weights: Annotated[
        int | None,
        typer.Option(
            metavar="SEED", min=0, help="Noise instead of trained weights: for measuring speed, useless for likeness."
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Compare with Keras on your pictures, instead of the 32 in the box."),
    ] = None,
    reduce: Annotated[
        int | None,
        typer.Option(metavar="K", help="Shorten the features to K, by what the pictures of --reduce-on look like."),
    ] = None,
    reduce_on: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Pictures like those of your catalogue, K of them or more.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Side of the pictures. [default: what the backbone likes]")
    ] = None,
    resize: Annotated[Resize, typer.Option(help="How pictures become square.")] = "squash",
    interpolation: Annotated[
        Interpolation,
        typer.Option(metavar="FILTER", help="Filter of the resize: nearest, bilinear, bicubic or lanczos."),
    ] = "bilinear",
) -> None:
    """Export a backbone; see `_EXPORT_HELP`."""
    chosen = _backbone(backbone)
    source = _weights(chosen, weights, random_weights)
    pipeline = _pipeline(chosen, size, resize, interpolation)
    if (reduce is None) != (reduce_on is None):
        raise UsageError("--reduce K and --reduce-on FOLDER go together: give both, or none")

    # Here, so that --help doesn't wait for ONNX.
    from twinset_exporter.export import Request
    from twinset_exporter.export import export as run
    from twinset_exporter.reducing import ReductionRequest
    from twinset_exporter.repository import Repository
    from twinset_exporter.steps import ConsoleSteps

    console = Console()
    reduction = None if reduce is None or reduce_on is None else ReductionRequest.of(reduce, reduce_on)
    result = run(Request(chosen, source, pipeline, pictures, reduction), Repository(repository), ConsoleSteps(console))
    contract = result.contract
    console.print(f"{'Published' if result.new else 'Already published'}: {result.path}", soft_wrap=True, markup=False)
    console.print(f"fingerprint {contract.fingerprint}\nartifact    {contract.artifact}", soft_wrap=True, style="dim")
    if not result.same_file:
        console.print("It computes the same as this export; its file was made by other versions of the tools.")
    if contract.random_weights:
        console.print("Its weights are random: good for measuring speed, useless for likeness.", style="yellow")


@app.command()
def models(repository: _Repository = Path("model_repository")) -> None:
    """List the models of a repository."""
    from twinset_exporter.repository import BrokenModel, Repository

    # In a pipe a table of 80 columns would cut the names that the reader came for.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    found = Repository(repository).models()
    if not found:
        text = f"No models in {repository}: make one with twinset-exporter export."
        console.print(text, soft_wrap=True, markup=False)
        return
    table = Table(
        Column("model", overflow="fold"), "backbone", "spaces", "artifact", "weights", box=None, pad_edge=False
    )
    for model in found:
        if isinstance(model, BrokenModel):
            table.add_row(escape(model.path.name), "[red]broken[/red]", escape(model.reason), "", "")
            continue
        contract = model.contract
        spaces = ", ".join(f"{s.name} ({s.dimension}, {s.metric.value})" for s in contract.spaces)
        table.add_row(
            contract.model,
            contract.backbone,
            spaces,
            contract.artifact[:8],
            "[yellow]random[/yellow]" if contract.random_weights else "trained",
        )
    console.print(table)


def _backbone(name: str) -> Backbone:
    if name not in BACKBONES:
        raise UsageError(f"no backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]


def _weights(backbone: Backbone, file: Path | None, seed: int | None) -> Weights:
    if file is not None and seed is not None:
        raise UsageError("--weights and --random-weights exclude each other: give one of them")
    if seed is not None:
        return RandomWeights(seed)
    if file is not None:
        return FileWeights(file)
    if backbone.packaged_weights is None:
        raise UsageError(
            f"{backbone.name} has no weights in the box: give trained ones with --weights FILE, or, to measure speed "
            "only, --random-weights SEED"
        )
    return FileWeights(backbone.packaged_weights)


def _pipeline(backbone: Backbone, size: int | None, resize: Resize, interpolation: Interpolation) -> PicturePipeline:
    side = backbone.size if size is None else size
    if not backbone.smallest_size <= side <= _LARGEST_SIZE:
        raise UsageError(f"--size {side}: {backbone.name} takes {backbone.smallest_size} to {_LARGEST_SIZE} pixels")
    return PicturePipeline(side, side, resize=resize, interpolation=interpolation)


def main() -> None:
    """Run the command line; a failure is one line on stderr and the exit code 1, or 2 where the call was wrong."""
    try:
        app()
    except ExportError as error:
        text = f"twinset-exporter: {error}"
        Console(stderr=True).print(text, style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(error.exit_code)
