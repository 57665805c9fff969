"""Pictures that mean harm are decoded or refused, in time and within their memory."""

import pytest

from faults.hostile import decoding, pictures
from faults.share import EVERYTHING, share

DANGEROUS = [
    "PNG of 50 million colours of 16 bits",
    "PNG of a column of 50 million pixels",
    "PNG whose pixels inflate to a gigabyte",
    "PNG of 1,000,000 empty pixel chunks",
    "JPEG of 7,000 x 7,000 and 20,000 scans",
    "JPEG of one marker",
    "WebP that says 16,384 x 16,384",
]
"""One of each kind; the others cost seconds to make."""


def test_mutated_pictures_are_decoded_or_refused() -> None:
    count = share(4_000, 100_000)
    outcome = decoding.mutations(0, count)
    assert outcome.problems == []
    assert outcome.pictures == count
    # Else the damage would all stop at the container, or reach nothing.
    assert min(outcome.ends["decoded"], outcome.ends["refused"]) > count // 10


def test_bombs_are_decoded_or_refused() -> None:
    names = list(pictures.bombs()) if EVERYTHING else DANGEROUS
    outcome = decoding.bombs(names)
    assert outcome.problems == []
    assert outcome.pictures == len(names)


@pytest.mark.parametrize("kind", ["death", "memory", "answer"])
def test_the_harness_sees_what_it_looks_for(kind: str) -> None:
    outcome = decoding.planted(kind)
    assert len(outcome.problems) == 1
