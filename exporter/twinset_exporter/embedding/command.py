"""`twinset-exporter embed`."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinset.folder import IdRule
from twinset.vectors.manifest import Format
from twinset_exporter.errors import ExportError, UsageError

if TYPE_CHECKING:
    from twinset_exporter.embedding.run import Result

_FAILURES_SHOWN = 50
_INTERRUPTED = 130


def embed(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures, in subfolders too.")],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the vectors go; made if need be.")],
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The model, where there are several.")] = None,
    repository: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the models.")] = Path("model_repository"),
    triton_url: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A running Triton's gRPC; without it one is started for the time."),
    ] = None,
    outputs: Annotated[
        str, typer.Option(metavar="NAMES", help="The model's outputs, by commas. [default: those that fill a space]")
    ] = "",
    format: Annotated[Format, typer.Option(help="What to write.")] = "npy",  # noqa: A002 - the option's name
    id_rule: Annotated[
        IdRule,
        typer.Option(
            "--id", help="A row's id: the picture's path below FOLDER without extension, its name, or its stem."
        ),
    ] = "path",
    chunk: Annotated[int, typer.Option(metavar="PICTURES", help="What a run that was killed repeats, at most.")] = 512,
) -> None:
    """Embed the pictures of a folder through Triton, and write their vectors to files.

    Run the same command again after a failure, a kill or Ctrl-C: it goes on where it was. Bad files are listed at the
    end and in failures.csv, and the rest are embedded; the exit code is 1 then.

    `npy` writes OUTPUT.npy and ids.txt, `parquet` vectors.parquet, `text` img_embeddings.txt and indexes.txt, which
    holds file names. `twinset put --vectors DIR` reads each of them.

    Example: `twinset-exporter embed photos --output vectors`
    """
    # Here, so that --help doesn't wait for them.
    from twinset.cli.progress import counting
    from twinset_exporter.embedding.parts import OutputFolder
    from twinset_exporter.embedding.pictures import list_pictures
    from twinset_exporter.embedding.run import Request
    from twinset_exporter.embedding.run import embed as run
    from twinset_exporter.triton_model import TritonModel

    request = Request([name.strip() for name in outputs.split(",") if name.strip()], format, id_rule, chunk)
    listing = list_pictures(folder, id_rule)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(contextlib.closing(OutputFolder(output)))
        address, name = stack.enter_context(_triton(triton_url, repository, model))
        triton = stack.enter_context(TritonModel(address, name))
        triton.check()
        show = stack.enter_context(counting("embedding", len(listing)))
        try:
            result = run(triton, listing, request, target, show)
        except KeyboardInterrupt:
            typer.echo("twinset-exporter: stopped: run the same command again to go on", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except UsageError:
            raise
        except ExportError as error:
            raise ExportError(f"{error}; run the same command again to go on") from error
        except OSError as error:
            raise ExportError(
                f"can't write to {output}: {error.strerror}; make room, then run the same command again to go on"
            ) from error
        depending = [name for name in result.manifest.outputs if triton.contract.takes_category([name])]
    _report(result, output, time.monotonic() - started)
    if depending:
        typer.echo(f"{', '.join(depending)}: of items of an unknown category, since a folder tells none")
    if result.manifest.failed:
        raise typer.Exit(1)


def _report(result: Result, output: Path, seconds: float) -> None:
    from twinset.cli.report import legible
    from twinset_exporter.embedding.files import FAILURES, paths, read_failures

    manifest = result.manifest
    before = manifest.count - result.fresh
    typer.echo(
        f"{manifest.count:,} pictures: {manifest.count - manifest.failed:,} embedded, {manifest.failed:,} failed"
        + (f", {before:,} of them by earlier runs" if before else "")
        + f", in {seconds:.1f} s"
        + (f", {result.fresh / seconds:,.0f} a second" if result.fresh else "")
    )
    for path in paths(output, manifest):
        typer.echo(path)
    if manifest.failed:
        for name, reason in itertools.islice(read_failures(output), _FAILURES_SHOWN):
            typer.echo(f"failed: {legible(name)}: {legible(reason)}", err=True)
        if manifest.failed > _FAILURES_SHOWN:
            typer.echo(f"and {manifest.failed - _FAILURES_SHOWN:,} more", err=True)
        typer.echo(f"all failures with their reasons: {output / FAILURES}", err=True)


@contextlib.contextmanager
def _triton(url: str | None, repository: Path, model: str | None) -> Iterator[tuple[str, str | None]]:
    """Yield the address to ask and the model to ask for."""
    from twinset_exporter.own_triton import own_triton

    if url is not None:
        yield url, model
        return
    with own_triton(repository, model) as (address, name):
        yield address, name
