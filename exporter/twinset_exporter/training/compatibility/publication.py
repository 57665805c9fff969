"""What a training leaves for `export --heads`: the network, and how its outputs give probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset_exporter.training.compatibility import calibration, keras_head
from twinset_exporter.training.compatibility.sides import Sides

HEAD_FILE = "compatibility.keras"
CATEGORIES_FILE = "categories.txt"


def contract(sides: Sides, *, prior: float, ece: float) -> PairContract:
    """Return how two vectors become a probability.

    Args:
        sides: calibrated for half of all pairs being true.
        prior: the share of true pairs that the probabilities are to hold for.
        ece: as it was measured on pairs that weren't trained on.
    """
    scale, shift = sides.calibration.scale, sides.calibration.shift + calibration.log_odds(prior)
    return PairContract(offset=sides.offset, scale=scale, shift=shift, prior=prior, ece=ece)


def network_bytes(sides: Sides) -> bytes:
    """Return the Keras file of both sides' network."""
    with TemporaryDirectory(prefix="twinset-head-") as folder:
        file = Path(folder) / HEAD_FILE
        keras_head.build(sides).save(file)
        return file.read_bytes()


def heads_file(sides: Sides, pair: PairContract, categories: Sequence[str]) -> str:
    """Return the text of `heads.toml`."""
    named = f'categories = "{CATEGORIES_FILE}"\n' if categories else ""
    outputs = "".join(
        f'outputs.{space} = {{ space = "{space}", metric = "{sides.metric.value}" }}\n'
        for space in (PAIR_SOURCE, PAIR_TARGET)
    )
    numbers = ", ".join(
        f"{name} = {value!r}"
        for name, value in (
            ("offset", pair.offset),
            ("scale", pair.scale),
            ("shift", pair.shift),
            ("prior", pair.prior),
            ("ece", pair.ece),
        )
    )
    return (
        f'name = "compatibility"\n\n[heads.compatibility]\nfile = "{HEAD_FILE}"\n{named}{outputs}'
        f"pair = {{ {numbers} }}\n"
    )
