"""What a head knows of categories before it is trained: that two names share words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0
"""The category of an item of which none is given; names count from 1."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_FILLERS = frozenset(("and", "for", "of", "the", "with"))


def descriptors(names: Sequence[str]) -> NDArray[np.float32]:
    """Return what a category's weights are made of, `[C + 1, Q]` float32, the first row that of the unknown.

    Each category has a component of its own and, with the same share, those of its name's words: so "Rug, low pile",
    seen twice, begins where the other rugs are. (On IKEA's rooms, with 676 types, AUC .70 instead of .66.) Words of one
    name alone say what its own component says, and are left out.

    Args:
        names: C names, each once.
    """
    words = [_words(name) for name in names]
    shared = sorted(word for word, count in Counter(w for found in words for w in found).items() if count > 1)
    column = {word: 1 + len(names) + place for place, word in enumerate(shared)}
    rows = np.eye(1 + len(names), 1 + len(names) + len(shared), dtype=np.float32)
    for number, found in enumerate(words, start=1):
        columns = [column[word] for word in found if word in column]
        rows[number, columns] = 1 / np.sqrt(max(len(columns), 1))
    return rows


def numbered(categories: Sequence[str], names: Sequence[str]) -> NDArray[np.int32]:
    """Return the number of each item's category, `[N]` int32: 1 for the first of `names`, 0 for others."""
    number = {name: place for place, name in enumerate(names, start=1)}
    return np.array([number.get(category, UNKNOWN) for category in categories], np.int32)


def _words(name: str) -> set[str]:
    found = {word for word in _WORD.findall(name.lower()) if word not in _FILLERS}
    # Enough of a stem that "Box" and "Boxes" apart, one plural meets its singular.
    return {word.removesuffix("s") if len(word) > 3 else word for word in found}
