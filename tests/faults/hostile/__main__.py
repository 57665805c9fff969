"""`make faults`, the part with what callers send: garbage at every RPC, and pictures that mean harm.

python -m faults.hostile [--calls N] [--pictures N]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Figure, machine, write
from faults.hostile import decoding, garbage, pictures
from faults.scratch import scratch

CORPUS = Path("build/faults/pictures")
"""What reached new code, kept from run to run."""

console = Console()


def harmed(count: int) -> decoding.Outcome:
    """Decode so many mutations, half of them led by coverage where atheris is installed, and every bomb."""
    is_guided = importlib.util.find_spec("atheris") is not None
    outcome = decoding.mutations(0, count // 2 if is_guided else count)
    parts = [decoding.bombs(list(pictures.bombs()))]
    if is_guided:
        parts.append(decoding.guided(count - count // 2, CORPUS))
    for part in parts:
        outcome.pictures += part.pictures
        outcome.ends += part.ends
        outcome.problems += part.problems
        outcome.slowest_s = max(outcome.slowest_s, part.slowest_s)
        outcome.most_bytes = max(outcome.most_bytes, part.most_bytes)
    return outcome


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m faults.hostile", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="calls with garbage")
    parser.add_argument("--pictures", type=int, default=1_000_000, help="pictures, besides the bombs")
    options = parser.parse_args()
    # Operations that garbage began end in what is wrong with it, as they should.
    logging.getLogger("twinset_server.operations").setLevel(logging.ERROR)
    decoded = harmed(options.pictures)
    with scratch() as folder:
        sent = asyncio.run(garbage.send(folder, 0, options.calls))
    for problem in (*decoded.problems[:20], *sent.problems[:20]):
        console.print(problem, style="red", highlight=False, markup=False)
    of_pictures = (
        f"{decoded.ends['decoded']} decoded and {decoded.ends['refused']} refused, the slowest in "
        f"{decoded.slowest_s:.2f} s of processor time, with at most {decoded.most_bytes >> 20} MB; "
        f"{machine('pillow', 'numpy')}"
    )
    of_calls = (
        f"{sent.calls} calls of {len(garbage.METHODS)} RPCs, {garbage.AT_ONCE} at a time: "
        f"{', '.join(f'{count} {code}' for code, count in sent.codes.most_common())}; the slowest answer took "
        f"{sent.slowest_s:.1f} s; {machine('grpcio', 'protobuf')}"
    )
    write(
        "hostile",
        [
            Figure("fuzz.pictures", decoded.pictures, 1_000_000, "pictures", "higher", of_pictures, bound=100_000),
            Figure("fuzz.crashes", len(decoded.problems), 0, "problems", "lower", of_pictures, bound=0),
            Figure("garbage.internal", len(sent.problems), 0, "calls", "lower", of_calls, bound=0),
        ],
    )
    return 1 if decoded.problems or sent.problems else 0


if __name__ == "__main__":
    sys.exit(main())
