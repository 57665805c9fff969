"""`twinset classify`: the classes that the server's model predicts for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from twinset.cli.delivery import UnreadablePicture, read_picture
from twinset.cli.problem import Problem, SomeFailed
from twinset.cli.report import console, legible, predictions_table, print_json
from twinset.cli.session import Server, session
from twinset.embeddings import Embedding


def classify(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures.")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many of the likeliest classes.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one picture a line.")] = False,
    server: Server = None,
) -> None:
    """Show what the server's model takes pictures for, with the probability of each class.

    It needs a model with a head that tells classes; `twinset status` names them.

    Example: `twinset classify photo.jpg -k 3`
    """
    contents = [_content(path) for path in images]
    with session(context).connect(server) as client:
        model = client.catalog().model
        if model is None or not model.classes:
            name = "no model so far" if model is None else model.name
            raise Problem(f"the server has {name}, which tells no classes: serve one with a head that has `classes`")
        # One small output of each comes along: the classes are what is asked for.
        found = client.embed(contents, outputs=list(model.classes)[:1], predictions=k)
    if json:
        for path, one in zip(images, found, strict=True):
            print_json(_json(path, one))
    else:
        console().print(predictions_table(list(zip(map(str, images), found, strict=True))))
    _tell_failed(images, found)


def _content(path: Path) -> bytes:
    try:
        return read_picture(path)
    except UnreadablePicture as error:
        raise Problem(f"{path}: {error}") from error


def _json(path: Path, found: Embedding) -> dict[str, object]:
    classes = {
        output: [{"class": one.class_name, "probability": one.probability} for one in predictions]
        for output, predictions in found.predictions.items()
    }
    return {"image": str(path), "classes": classes}


def _tell_failed(images: Sequence[Path], found: Sequence[Embedding]) -> None:
    failed = [(path, one.error) for path, one in zip(images, found, strict=True) if one.error is not None]
    for path, error in failed:
        typer.echo(f"failed: {legible(path)}: {error}", err=True)
    if failed:
        raise SomeFailed
