"""A process that decodes pictures which mean harm, and its parent, which sees it die, hang or grow.

Its arguments: `FIRST COUNT` for mutations by their numbers, `bomb NAME`, `planted KIND` for a decoder with a defect,
and `guided RUNS DIR` for mutations that are led by which code they reach, which needs atheris.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

PROGRAM = Path(__file__)

ANSWERED_WITHIN_S = 2.0
"""Of processor time, since the machine may be busy."""

MAX_BYTES = 512 << 20

_TOGETHER = 5_000
"""Mutations of one process."""


@dataclass
class Outcome:
    """What became of pictures.

    Attributes:
        pictures: how many were tried.
        ends: how many were decoded, and refused.
        problems: each that ended a process, came late, was answered by something else, or took too much memory.
        slowest_s: processor time of the slowest.
        most_bytes: memory of the process at its largest.
    """

    pictures: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    most_bytes: int = 0


def mutations(first: int, count: int) -> Outcome:
    """Decode mutations numbered from `first` on, in processes of their own."""
    outcome = Outcome()
    for begin in range(first, first + count, _TOGETHER):
        _child(outcome, [str(begin), str(min(_TOGETHER, first + count - begin))])
    return outcome


def bombs(names: list[str]) -> Outcome:
    """Decode bombs, each in a process of its own."""
    outcome = Outcome()
    for name in names:
        _child(outcome, ["bomb", name])
    return outcome


def guided(runs: int, corpus: Path) -> Outcome:
    """Decode so many mutations that are led by coverage, in one process; `corpus` keeps what reached new code."""
    outcome = Outcome()
    _child(outcome, ["guided", str(runs), str(corpus)])
    return outcome


def planted(kind: str) -> Outcome:
    """Decode one picture with a decoder that dies, takes too much memory or answers wrongly."""
    outcome = Outcome()
    _child(outcome, ["planted", kind])
    return outcome


def _child(outcome: Outcome, arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, errors="replace", check=False
    )
    last = "nothing"
    for line in ended.stdout.splitlines():
        match line.split("\t"):
            case ["begin", what]:
                last = what
            case ["problem", what]:
                outcome.problems.append(what)
            case ["sum", pictures, decoded, refused, slowest_s, most_bytes]:
                outcome.pictures += int(pictures)
                outcome.ends.update(decoded=int(decoded), refused=int(refused))
                outcome.slowest_s = max(outcome.slowest_s, float(slowest_s))
                outcome.most_bytes = max(outcome.most_bytes, int(most_bytes))
    if ended.returncode:
        outcome.problems.append(f"{last} ended its process with {ended.returncode}: {ended.stderr[-2000:]}")


class _Decoder:
    """Decodes one picture after the other, and says what is wrong."""

    def __init__(self) -> None:
        from twinset.images import PictureError, PicturePipeline, decode  # once atheris watches it

        self._decode, self._refusal = decode, PictureError
        self._pipelines = [
            PicturePipeline(32, 32),
            PicturePipeline(48, 32, resize="pad", interpolation="bicubic"),
            PicturePipeline(32, 48, resize="crop", interpolation="nearest", scaled_decoding=False),
            PicturePipeline(24, 24, antialias=False),
        ]
        self.decoded = self.refused = 0
        self.slowest_s = 0.0

    def __call__(self, what: str, content: bytes) -> None:
        """Decode a picture; whatever is raised that is no refusal ends the process."""
        pipeline = self._pipelines[len(content) % len(self._pipelines)]
        began_s = time.process_time()
        try:
            pixels = self._decode(content, pipeline)
            self.decoded += 1
            if pixels.shape != (pipeline.height, pipeline.width, 3) or pixels.dtype != "uint8":
                _say("problem", f"{what} became {pixels.dtype} {pixels.shape}")
        except self._refusal:
            self.refused += 1
        took_s = time.process_time() - began_s
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > ANSWERED_WITHIN_S:
            _say("problem", f"{what} took {took_s:.1f} s")

    def end(self) -> None:
        """Say how it was."""
        status = Path("/proc/self/status").read_text()
        most_bytes = int(status.partition("VmHWM:")[2].split()[0]) << 10
        if most_bytes > MAX_BYTES:
            _say("problem", f"the process took {most_bytes >> 20} MB")
        _say("sum", self.decoded + self.refused, self.decoded, self.refused, self.slowest_s, most_bytes)


def _say(*parts: object) -> None:
    print(*parts, sep="\t", flush=True)


def _mutate(first: int, count: int) -> None:
    from faults.hostile.pictures import mutated, seeds

    decode, known = _Decoder(), seeds()
    for number in range(first, first + count):
        random = Random(number)
        what = f"mutation {number}"
        _say("begin", what)
        decode(what, mutated(random.choice(known), random))
    decode.end()


def _explode(name: str) -> None:
    from faults.hostile.pictures import bombs as all_bombs

    made = all_bombs()[name]()
    _say("begin", name)
    # What it took to make the bomb isn't the decoder's.
    Path("/proc/self/clear_refs").write_text("5")
    decode = _Decoder()
    decode(name, made)
    decode.end()


def _plant(kind: str) -> None:
    import numpy as np

    decode = _Decoder()
    taken = []

    def bad(content: bytes, pipeline: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        if kind == "death":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "memory":
            taken.append(np.ones(MAX_BYTES, np.uint8))
        return np.zeros((1, 1, 3) if kind == "answer" else (32, 32, 3), np.uint8)

    decode._decode = bad
    decode("a picture", b"1234")
    decode.end()


def _guide(runs: int, corpus: Path) -> None:
    import atheris

    from faults.hostile.pictures import mutated, seeds

    with atheris.instrument_imports(include=["twinset.images", "PIL"]):
        decode = _Decoder()
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(content)

    def mutate(content: bytes, most_bytes: int, seed: int) -> bytes:
        random = Random(seed)
        changed = mutated(content, random) if random.random() < 0.7 else atheris.Mutate(content, most_bytes)
        return bytes(changed[:most_bytes])

    done = 0

    def one(content: bytes) -> None:
        nonlocal done
        decode(f"a picture that {corpus} holds as crash-... or timeout-...", content)
        done += 1
        if done == runs:
            decode.end()

    limits = [f"-runs={runs}", "-timeout=20", f"-rss_limit_mb={MAX_BYTES >> 20}", "-max_len=16384"]
    atheris.Setup(
        ["decoding", f"-artifact_prefix={corpus}/", "-verbosity=0", *limits, str(corpus)], one, custom_mutator=mutate
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path[:0] = [str(PROGRAM.parents[2])]
    match sys.argv[1:]:
        case ["bomb", name]:
            _explode(name)
        case ["planted", kind]:
            _plant(kind)
        case ["guided", runs, corpus]:
            _guide(int(runs), Path(corpus))
        case [first, count]:
            _mutate(int(first), int(count))
