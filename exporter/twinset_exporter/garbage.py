"""Keeps the converter's memory down: its graphs refer to themselves, so only the garbage collector frees them.

It copies the whole network two dozen times. Each copy is a few large objects, and the collector, which counts objects
and not bytes, would let most of them pile up: 3.4 GB for the 59 MB of VGG16, 1.9 with this.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# Every generation at nearly every chance; that is cheap, since what was there before is frozen.
_EAGER = (50, 1, 1)


@contextlib.contextmanager
def collected_eagerly() -> Iterator[None]:
    """Collect often while the context is open, and all at its end."""
    before = gc.get_threshold()
    gc.freeze()
    gc.collect()  # of nothing, which tells the collector how little there is to go through
    gc.set_threshold(*_EAGER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        gc.collect()
