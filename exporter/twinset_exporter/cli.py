"""`twinset-exporter`."""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from twinset.images.pipeline import Interpolation, PicturePipeline, Resize
from twinset_exporter.backbones import own_model
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.own_model import OwnModel
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.commands import diff, models, prove, prune, show
from twinset_exporter.commands.publish_interaction import publish_interaction
from twinset_exporter.commands.train import train
from twinset_exporter.embedding.command import embed
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.heads import specification
from twinset_exporter.targets import Target
from twinset_exporter.weights import FileWeights, ImagenetWeights, RandomWeights, Weights

if TYPE_CHECKING:
    from twinset_exporter.export import Result

_LARGEST_SIZE = 1024
_IMAGENET = "imagenet"

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

Examples: `twinset-exporter export efficientnet_lite0 --repository model_repository` and, for a network of your own,
`twinset-exporter export my_model.keras --preprocessing tf --cut avg_pool --repository model_repository`

Of models that others made, take `.keras` files: Keras loads them without running their code. A SavedModel is a program.
"""

_Repository = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the models; made if need be.")]


app.command()(embed)
app.command()(publish_interaction)


@app.command(help=_EXPORT_HELP)
def export(
    backbone: Annotated[
        str,
        typer.Argument(
            metavar="BACKBONE|MODEL",
            help=f"One of: {', '.join(BACKBONES)}. Or a model of your own: a .keras file or a SavedModel's folder.",
        ),
    ],
    repository: _Repository = Path("model_repository"),
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|FILE",
            help="Trained weights: Keras's own, downloaded once, or a file (.weights.h5, .h5, .keras or .npz).",
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
    target: Annotated[
        Target, typer.Option(help="The machine that it is for: cpu, or gpu with TensorRT at 16 bits.")
    ] = Target.CPU,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Your own model's: caffe, tf or torch as in Keras, none, or mean=...,std=... of pixels 0 to 255.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Your own model's. [default: its file's]")] = None,
    cut: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="The layer of your own model whose output is the features. [default: last]"),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="PRECISION", help="fp32, fp16 (half the file) or int8 (about twice as fast).")
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="200 pictures or more like yours, for int8 to calibrate and judge on."),
    ] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Publish a lower precision though it loses too many neighbours.")
    ] = False,
    triton: Annotated[
        bool,
        typer.Option("--triton/--no-triton", help="Prove it through Triton too, where one can be started here."),
    ] = True,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE.keras[:METRIC]",
            help="A head on the features; with cosine, euclidean or inner_product it fills the space NAME. Repeatable.",
        ),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="All heads, where their outputs and spaces need more words."),
    ] = None,
) -> None:
    """Export a backbone; see `_EXPORT_HELP`."""
    ensemble = specification.of_options(head or (), heads)
    if backbone not in BACKBONES and own_model.is_path(backbone):
        if weights is not None or random_weights is not None:
            raise UsageError(f"{backbone} brings its weights: leave out --weights and --random-weights")
        own = _own_model(Path(backbone), preprocessing, name, cut)
        chosen: Backbone = own.backbone
        source: Weights = own.weights
        pipeline = _own_pipeline(own, size, resize, interpolation)
    else:
        chosen = _backbone(backbone)
        for option, value in (("--preprocessing", preprocessing), ("--name", name), ("--cut", cut)):
            if value is not None:
                raise UsageError(f"{option} is for models of your own: {backbone} has its own already")
        source = _weights(chosen, weights, random_weights)
        pipeline = _pipeline(chosen, size, resize, interpolation)
    if (reduce is None) != (reduce_on is None):
        raise UsageError("--reduce K and --reduce-on FOLDER go together: give both, or none")

    # Here, so that --help doesn't wait for ONNX.
    from twinset_exporter.export import Request
    from twinset_exporter.export import export as run
    from twinset_exporter.precision import publication
    from twinset_exporter.reducing import ReductionRequest
    from twinset_exporter.repository import Repository
    from twinset_exporter.steps import ConsoleSteps

    lower = publication.parse(precision, calibration, accept_loss=accept_loss, triton=triton)
    request = Request(
        backbone=chosen,
        weights=source,
        pipeline=pipeline,
        parity_pictures=pictures,
        target=target,
        reduction=None if reduce is None or reduce_on is None else ReductionRequest.of(reduce, reduce_on),
        triton=triton,
    )
    console, published = Console(), Repository(repository)
    result = run(request, published, ConsoleSteps(console))
    if lower is not None:
        result = publication.reduce(lower, published, result, ConsoleSteps(console))
    _tell(console, result)
    if ensemble is not None:
        from twinset_exporter.heads.publication import Request as HeadsRequest
        from twinset_exporter.heads.publication import publish

        _tell(console, publish(HeadsRequest(ensemble, pictures, triton), published, result, ConsoleSteps(console)))


def _tell(console: Console, result: Result) -> None:
    contract = result.contract
    console.print(f"{'Published' if result.new else 'Already published'}: {result.path}", soft_wrap=True, markup=False)
    console.print(f"fingerprint {contract.fingerprint}\nartifact    {contract.artifact}", soft_wrap=True, style="dim")
    if not result.same_file:
        console.print("It computes the same as this export; its file was made by other versions of the tools.")
    if contract.random_weights:
        console.print("Its weights are random: good for measuring speed, useless for likeness.", style="yellow")


for _command in (models.models, show.show, diff.diff, prune.prune, prove.prove):
    app.command()(_command)
app.add_typer(train, name="train")


def _backbone(name: str) -> Backbone:
    if name not in BACKBONES:
        raise UsageError(
            f"no backbone {name!r}: choose one of {', '.join(BACKBONES)}, or give the path of a .keras file or of a "
            "SavedModel's folder"
        )
    return BACKBONES[name]


def _weights(backbone: Backbone, wanted: str | None, seed: int | None) -> Weights:
    if wanted is not None and seed is not None:
        raise UsageError("--weights and --random-weights exclude each other: give one of them")
    if seed is not None:
        return RandomWeights(seed)
    if wanted not in (None, _IMAGENET):
        return FileWeights(Path(wanted))
    if backbone.packaged_weights is not None:
        return FileWeights(backbone.packaged_weights)  # ImageNet's too
    if wanted == _IMAGENET and backbone.imagenet is not None:
        return ImagenetWeights(backbone.name, backbone.imagenet)
    raise UsageError(
        f"{backbone.name} has no weights in the box: give trained ones with --weights imagenet or --weights FILE, or, "
        "to measure speed only, --random-weights SEED"
    )


def _pipeline(backbone: Backbone, size: int | None, resize: Resize, interpolation: Interpolation) -> PicturePipeline:
    side = backbone.size if size is None else size
    if not backbone.smallest_size <= side <= _LARGEST_SIZE:
        raise UsageError(f"--size {side}: {backbone.name} takes {backbone.smallest_size} to {_LARGEST_SIZE} pixels")
    return PicturePipeline(side, side, resize=resize, interpolation=interpolation)


def _own_model(path: Path, preprocessing: str | None, name: str | None, cut: str | None) -> OwnModel:
    if preprocessing is None:
        raise UsageError(
            f"say how {path} wants its pixels: --preprocessing caffe, tf or torch as in Keras's preprocess_input, none "
            "where the network takes 0 to 255, or mean=...,std=..."
        )
    return own_model.load(path, prepared=preprocessing, name=name, cut=cut)


def _own_pipeline(own: OwnModel, size: int | None, resize: Resize, interpolation: Interpolation) -> PicturePipeline:
    height, width = own.height or size, own.width or size
    if height is None or width is None:
        raise UsageError(f"{own.weights.path} takes pictures of any size: choose one with --size")
    if size is not None and (height, width) != (size, size):
        raise UsageError(f"--size {size}: {own.weights.path} takes {width}x{height} pixels, and no others")
    if not 1 <= min(height, width) <= max(height, width) <= _LARGEST_SIZE:
        raise UsageError(f"{width}x{height} pixels: twinset serves 1 to {_LARGEST_SIZE} a side")
    return PicturePipeline(height, width, resize=resize, interpolation=interpolation)


def main() -> None:
    """Run the command line; a failure is one line on stderr and the exit code 1, or 2 where the call was wrong."""
    try:
        app()
    except ExportError as error:
        text = f"twinset-exporter: {error}"
        Console(stderr=True).print(text, style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(error.exit_code)
