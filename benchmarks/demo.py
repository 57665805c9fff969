"""The main job on real pictures: export, serve, put, recommend, restart. `make demo` runs it.

Figures: `demo.precision_at_10`, the share of the ten neighbours that have the query's label, over all samples; with
another backbone or other weights `demo.precision_at_10.BACKBONE`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, machine, write
from benchmarks.service import Service, ServiceFailed, export, run, serving
from twinset import Client, Recommendations
from twinset.cli.sheet import SheetItem, SheetRow, render
from twinset_server.catalog.store.schema import VERSION as SCHEMA

SAMPLES = Path("samples/fashion-mnist")
REPOSITORY = Path("model_repository")
SHEET = Path("demo.html")
K = 10
DEFAULT_BACKBONE = "efficientnet_lite0"

console = Console()


class Stages:
    """How long each stage took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Time what happens inside, under a heading."""
        console.print(f"\n[bold]{title}[/bold]")
        start = time.perf_counter()
        yield
        self._seconds[title] = time.perf_counter() - start

    def print(self) -> None:
        """Print a table of all stages."""
        table = Table(title="time of every stage", title_justify="left")
        table.add_column("stage")
        table.add_column("seconds", justify="right")
        for title, seconds in self._seconds.items():
            table.add_row(title, f"{seconds:.1f}")
        table.add_row("[bold]all", f"[bold]{sum(self._seconds.values()):.1f}")
        console.print(table)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, help="the network to embed with")
    parser.add_argument(
        "--weights", default="", help="imagenet, or a weights file, for a backbone with none in the box"
    )
    arguments = parser.parse_args()
    try:
        show(arguments.backbone, ["--weights", arguments.weights] if arguments.weights else [])
    except ServiceFailed as error:
        sys.exit(f"demo: {error}")


def show(backbone: str, export_options: Sequence[str]) -> None:
    """Run every stage with one backbone."""
    stages = Stages()
    work = Path("build/demo") / backbone
    # Another release's catalogue, which this one may not read, is left alone.
    data = work / f"data-{SCHEMA}"
    with stages.stage(f"export {backbone}, proved equal to its Keras original"):
        model = export(backbone, REPOSITORY, *export_options)

    with stages.stage("start the server and its Triton"):
        service = serving(repository=REPOSITORY, model=model, data=data, log=work / "server.log")
        first = service.__enter__()
    try:
        with stages.stage("put 1,000 pictures"):
            run("twinset", "--server", first.address, "put", SAMPLES, "--attributes", SAMPLES / "labels.csv")
        with Client(first.address) as client:
            labels = {item.id: item.category for item in client.list_items()}
            queries = _one_per_label(labels)
            with stages.stage(f"ask for look-alikes of {len(queries)} items"):
                answers = {item_id: client.recommend(item=item_id, k=K) for item_id in queries}
                _print_answers(answers, labels)
            with stages.stage("measure precision@10 over all items"):
                precision = _precision(client, labels)
            with stages.stage(f"write {SHEET}"):
                _write_sheet(client, first.address, answers, labels, precision)
        first.kill()
    finally:
        service.__exit__(None, None, None)

    with (
        stages.stage("kill the server, start it again, and ask once more"),
        serving(repository=REPOSITORY, model=model, data=data, log=work / "server.log") as second,
    ):
        _compare(second, answers)
    write(*_figure(backbone, export_options, model, precision, len(labels)))
    stages.print()
    console.print(f"\nopen [bold]{SHEET}[/bold] in a browser to see the look-alikes")


def _figure(
    backbone: str, export_options: Sequence[str], model: str, precision: float, pictures: int
) -> tuple[str, list[Figure]]:
    """Return the name of the figures' file, and the figure.

    The aim is for the network and the weights in the box: others' are the user's, and have a file of their own.
    """
    of_the_box = backbone == DEFAULT_BACKBONE and not export_options
    weights = " ".join(export_options) or "the weights in the box"
    protocol = (
        f"{pictures:,} Fashion-MNIST test pictures, {backbone} features ({model}, {weights}), cosine, leave-one-out by "
        f"label through RecommenderService.Recommend, hits / {K}; {machine('twinset', 'onnxruntime', 'usearch')}"
    )
    if of_the_box:
        return "demo", [Figure("demo.precision_at_10", precision, 0.72, "share", "higher", protocol)]
    figure = Figure(f"demo.precision_at_10.{backbone}", precision, None, "share", "higher", protocol)
    return f"demo-{backbone}", [figure]


def _one_per_label(labels: dict[str, str]) -> list[str]:
    """Return the first item of every label."""
    return list({label: item_id for item_id, label in reversed(labels.items())}.values())


def _print_answers(answers: dict[str, Recommendations], labels: dict[str, str]) -> None:
    table = Table()
    table.add_column("query")
    table.add_column("look-alikes, nearest first (score)")
    for item_id, found in answers.items():
        row = [
            f"[{'green' if labels[r.item.id] == labels[item_id] else 'red'}]{r.item.id}[/] ({r.score:.2f})"
            for r in found[:5]
        ]
        table.add_row(item_id, ", ".join(row))
    console.print(table)


def _precision(client: Client, labels: dict[str, str]) -> float:
    def hits(item_id: str) -> int:
        found = client.recommend(item=item_id, k=K)
        return sum(labels[r.item.id] == labels[item_id] for r in found)

    with ThreadPoolExecutor(4) as threads:
        precision = sum(threads.map(hits, labels)) / (K * len(labels))
    console.print(f"precision@{K} over {len(labels):,} items: [bold]{precision:.3f}[/bold] (chance .10)")
    return precision


def _write_sheet(
    client: Client, address: str, answers: dict[str, Recommendations], labels: dict[str, str], precision: float
) -> None:
    found = next(iter(answers.values()))
    rows = [_linked(SheetRow.from_answer(client, item_id, answer)) for item_id, answer in answers.items()]
    SHEET.write_text(
        render(
            rows,
            title="Look-alikes",
            subtitle=f"precision@{K} {precision:.3f} over {len(labels):,} pictures, .100 by chance",
            facts={
                "server": address,
                "space": found.space,
                "k": str(K),
                "search": "exact" if found.exact else "approximate",
            },
        ),
        encoding="utf-8",
    )


def _linked(row: SheetRow) -> SheetRow:
    """Return the row with a link to the sample behind each picture."""

    def link(item: SheetItem) -> SheetItem:
        return replace(item, uri=f"{SAMPLES}/{item.id}.png")

    return SheetRow(link(row.query), [link(item) for item in row.neighbours])


def _compare(service: Service, before: dict[str, Recommendations]) -> None:
    with Client(service.address) as client:
        for item_id, found in before.items():
            again = client.recommend(item=item_id, k=K)
            if [r.item.id for r in again] != [r.item.id for r in found]:
                raise ServiceFailed(f"after the restart, {item_id} has other look-alikes than before")
    console.print(f"the same answers for all {len(before)} items")


if __name__ == "__main__":
    main()
