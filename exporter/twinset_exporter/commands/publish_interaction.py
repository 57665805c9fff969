"""`twinset-exporter publish-interaction`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinset_exporter.commands.console import open_console
from twinset_exporter.targets import Target


def publish_interaction(
    training: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `train taste` wrote.")],
    repository: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the models; made if need be.")] = Path(
        "model_repository"
    ),
    target: Annotated[Target, typer.Option(help="The machine that it is for.")] = Target.CPU,
    triton: Annotated[
        bool, typer.Option("--triton/--no-triton", help="Prove it through Triton too, where one can be started here.")
    ] = True,
) -> None:
    """Publish the interaction model of a taste training: it ranks up to 4,096 candidates of a user again, on Triton.

    It is compared with Keras on pairs of real factors first, and published only where both agree. What is published
    never changes.

    Example: `twinset-exporter publish-interaction taste --repository model_repository`
    """
    # Here, so that --help doesn't wait for ONNX.
    from twinset_exporter.interaction.publication import Request, publish
    from twinset_exporter.repository import Repository
    from twinset_exporter.steps import ConsoleSteps
    from twinset_exporter.training.taste.names import FACTORS, INTERACTION

    console, models = open_console(), Repository(repository)
    models.make()
    request = Request(training / INTERACTION, training / FACTORS, target, triton)
    published, new = publish(request, models, ConsoleSteps(console))
    contract = published.contract
    console.print(f"{'Published' if new else 'Already published'}: {published.path}", soft_wrap=True, markup=False)
    console.print(f"fingerprint {contract.fingerprint}\nfactors     {contract.factors}", soft_wrap=True, style="dim")
