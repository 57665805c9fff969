"""`make faults`, the part with figures: kills of the real server, ends at each named step, and damaged indexes.

    python -m faults [--rounds N] [--per-step N] [--mutations N] [--anew]

What is done goes into build/faults, so that a run that was cut off goes on where it was; `--anew` begins again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, machine, write
from faults import damage
from faults.disk.power import compiled, compiler
from faults.kill.rounds import CALLS, PROCESSES, Tally, load, rounds, save
from faults.scratch import scratch
from twinset_server.catalog import steps

PROGRESS = Path("build/faults/kills.json")
KINDS = (*PROCESSES, "worker", *CALLS)
STEPS = {
    steps.PICTURES_WRITTEN: 5,
    steps.BEFORE_COMMIT: 20,
    steps.AFTER_COMMIT: 20,
    # The second, since one that always ended at its first would never let a feed through.
    steps.FEED_COMMIT: 2,
    steps.SEGMENT_SAVED: 3,
    steps.SEGMENT_SYNCED: 3,
    steps.MANIFEST_WRITTEN: 3,
    steps.MANIFEST_RENAMED: 3,
    steps.DIRECTORY_SYNCED: 3,
    steps.COLUMNS_SAVED: 1,
    steps.COLUMNS_WRITTEN: 1,
    steps.COLUMNS_RENAMED: 1,
}
"""Named steps, each with how often a process gets to it before it ends there."""

PER_SERVER = 50
"""Rounds after which a new server on a new folder is begun: what grows with a run stays small."""

MISSES = 30
"""Rounds of a step, one after another, in which nothing ended, after which it is given up: it isn't reached."""

READY_WITHIN_S = 5.0

console = Console()


async def random_kills(library: Path, wanted: int, done: dict[str, Tally]) -> None:
    """Do rounds of kills by process and by call, until there are `wanted`."""
    kinds = itertools.cycle(KINDS)
    while (before := _rounds(done, KINDS)) < wanted:
        with scratch() as folder:
            async with rounds(folder, library, seed=before) as server:
                server.tallies = done
                for kind in itertools.islice(kinds, min(PER_SERVER, wanted - before)):
                    _show(kind, await server.round(kind), _rounds(done, KINDS), wanted)
                    save(PROGRESS, done)


async def ends_at_steps(library: Path, wanted: int, done: dict[str, Tally]) -> None:
    """Have processes end at each named step, until each has seen `wanted` ends."""
    for step, count in STEPS.items():
        tally, misses = done.setdefault(step, Tally()), 0
        while tally.kills < wanted and misses < MISSES:
            at, feeds = f"{step}:{count}", step == steps.FEED_COMMIT
            with scratch() as folder:
                async with rounds(folder, library, seed=tally.rounds, step=at, feeds=feeds) as server:
                    server.tallies = done
                    for _ in range(PER_SERVER):
                        ends = tally.kills
                        await server.round(step)
                        misses = misses + 1 if tally.kills == ends else 0
                        _show(step, tally, tally.kills, wanted)
                        save(PROGRESS, done)
                        if tally.kills == wanted or misses == MISSES:
                            break


async def mutations(count: int) -> list[damage.Trial]:
    """Damage an index in so many ways, and return what each did."""
    with scratch() as folder:
        await damage.prepare(folder)
        trials = []
        for trial in damage.trials(folder, 0, count):
            trials.append(trial)
            if trial.problem:
                console.print(f"[red]mutation {trial.number}, {trial.kind} of {trial.file}: {trial.problem}")
        return trials


def report(done: Mapping[str, Tally], trials: list[damage.Trial], per_step: int) -> bool:
    """Print tables, write the figures, and return whether all is well."""
    table = Table(title="kills", title_justify="left")
    for heading in (
        "killed at",
        "rounds",
        "kills",
        "acknowledged",
        "problems",
        "answers after, s",
        "all there after, s",
    ):
        table.add_column(heading, justify="left" if heading == "killed at" else "right")
    for kind, tally in done.items():
        answers, whole = (f"{max(times, default=0):.1f}" for times in (tally.ready_s, tally.whole_s))
        counts = (tally.rounds, tally.kills, tally.acknowledged, len(tally.problems))
        table.add_row(kind, *map(str, counts), answers, whole)
    console.print(table)
    damaged = Table(title="damage to the index", title_justify="left")
    for heading in ("kind", "mutations", "missed"):
        damaged.add_column(heading, justify="left" if heading == "kind" else "right")
    missed = Counter(trial.kind for trial in trials if trial.problem)
    for kind, count in Counter(trial.kind for trial in trials).items():
        damaged.add_row(kind, str(count), str(missed[kind]))
    console.print(damaged)
    problems = [problem for tally in done.values() for problem in tally.problems]
    short = {step: tally.kills for step, tally in done.items() if step in STEPS and tally.kills < per_step}
    for step, kills in short.items():
        console.print(f"[red]only {kills} processes ended at {step}, which isn't reached as it was")
    for problem in problems[:20]:
        console.print(f"[red]{problem}")
    ready_s = max((second for tally in done.values() for second in tally.ready_s), default=0.0)
    if ready_s > READY_WITHIN_S:
        console.print(f"[red]once nothing answered for {ready_s:.1f} s; at most {READY_WITHIN_S:.0f} s are allowed")
    protocol = (
        f"{sum(tally.kills for tally in done.values())} kills of a server of 2 workers and a builder under 6 "
        f"callers, by process, at calls of the system and at named steps; at most {ready_s:.1f} s without an answer; "
        f"{len(trials)} mutations of one generation; {machine('usearch', 'numpy', 'grpcio')}"
    )
    write(
        "faults",
        [
            Figure("faults.rounds", sum(tally.rounds for tally in done.values()), 2000, "rounds", "higher", protocol),
            Figure("faults.acknowledged", _acknowledged(done), 20_000, "writes", "higher", protocol),
            Figure("faults.lost", len(problems), 0, "problems", "lower", protocol),
            Figure("faults.mutations_missed", sum(missed.values()), 0, "mutations", "lower", protocol),
        ],
    )
    return not problems and not missed and not short and ready_s <= READY_WITHIN_S


def _rounds(done: Mapping[str, Tally], kinds: tuple[str, ...]) -> int:
    return sum(tally.rounds for kind, tally in done.items() if kind in kinds)


def _acknowledged(done: Mapping[str, Tally]) -> int:
    return sum(tally.acknowledged for tally in done.values())


def _show(kind: str, tally: Tally, count: int, wanted: int) -> None:
    console.print(
        f"{count}/{wanted} {kind}: {tally.kills} kills, {tally.acknowledged} acknowledged, "
        f"{len(tally.problems)} problems",
        highlight=False,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="kills at random; 0 for none")
    parser.add_argument("--per-step", type=int, default=20, help="ends at each named step; 0 for none")
    parser.add_argument("--mutations", type=int, default=1000, help="damaged indexes; 0 for none")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier run did")
    return parser.parse_args()


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    options = _arguments()
    if compiler() is None:
        console.print(
            "[red]calls of the system are struck by a library in C: install gcc or clang, so that cc is found"
        )
        return 2
    if options.anew:
        PROGRESS.unlink(missing_ok=True)
    return asyncio.run(_all(options, load(PROGRESS)))


async def _all(options: argparse.Namespace, done: dict[str, Tally]) -> int:
    with scratch() as folder:
        library = compiled(folder)
        trials = await mutations(options.mutations)
        await ends_at_steps(library, options.per_step, done)
        await random_kills(library, options.rounds, done)
    return 0 if report(done, trials, options.per_step) else 1


if __name__ == "__main__":
    sys.exit(main())
