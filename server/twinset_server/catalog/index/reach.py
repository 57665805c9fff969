"""Which rows of a saved graph no walk can come to.

Where vectors have many dimensions, a few are nobody's near neighbour: each link to them is given up for a nearer one,
and no width of the walk finds them again. They are few, one in a thousand at most, and are compared one by one instead.

What is read here is how USearch 2.26 saves an index (`index_dense.hpp`, `index.hpp`): little-endian,

```
rows u32, bytes of a row u32, the rows; 64 bytes of a head; size, connectivity, connectivity of level 0, highest level,
entry: u64 each; the level of each node, i16; the nodes: key u64, level i16, and for each level from 0 a count u32 and
as many u32 as the level's connectivity allows, of which the first `count` are nodes
```
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset_server.catalog.index.labels import Places

_DENSE_HEAD = 64
_HEAD = 5 * 8
_NODE_HEAD = 10
_CHUNK = 1 << 16

UInt8Array = NDArray[np.uint8]
UInt32Array = NDArray[np.uint32]


class UnknownLayout(Exception):
    """The bytes aren't laid out as this module knows."""


def unreachable(saved: UInt8Array) -> Places:
    """Return the rows, rising, that a walk along level 0 from the entry never comes to.

    Args:
        saved: a whole saved index, whose keys are the numbers of its rows in order.
    Raises:
        UnknownLayout: it isn't one.
    """
    keys, counts, links, entry = _level_0(saved)
    reached = np.zeros(len(counts), np.bool_)
    reached[entry] = True
    frontier = np.array([entry])
    position = np.arange(links.shape[1])
    while len(frontier):
        used = position < counts[frontier, np.newaxis]
        near = links[frontier][used]
        near = near[~reached[near]]
        reached[near] = True
        frontier = np.unique(near)
    return np.sort(keys[~reached])


def _level_0(saved: UInt8Array) -> tuple[Places, UInt32Array, UInt32Array, int]:
    """Return each node's row, how many links it has on level 0, `[N]`, the links, `[N, M]`, and the entry."""
    if len(saved) < 8:
        raise UnknownLayout("a saved index has more bytes")
    rows, width = saved[:8].view("<u4").tolist()
    start = 8 + rows * width + _DENSE_HEAD
    if len(saved) < start + _HEAD + 2 * rows:
        raise UnknownLayout("the index ends before its nodes")
    size, upper, base, _, entry = saved[start : start + _HEAD].copy().view("<u8").tolist()
    levels = saved[start + _HEAD : start + _HEAD + 2 * rows].copy().view("<i2").astype(np.int64)
    first = start + _HEAD + 2 * rows
    sizes = _NODE_HEAD + 4 * (1 + base) + 4 * (1 + upper) * levels
    if size != rows or not rows or entry >= rows or levels.min() < 0 or first + sizes.sum() != len(saved):
        raise UnknownLayout(f"an index of {rows} rows would be of another size")
    offsets = first + np.cumsum(sizes) - sizes
    links = np.empty((rows, 1 + base), np.uint32)
    for begin in range(0, rows, _CHUNK):
        wanted = offsets[begin : begin + _CHUNK, np.newaxis] + (_NODE_HEAD + np.arange(4 * (1 + base)))
        links[begin : begin + _CHUNK] = saved[wanted].view("<u4")
    # Several threads that add at once number the nodes as they come.
    keys = saved[offsets[:, np.newaxis] + np.arange(8)].view("<u8")[:, 0].astype(np.intp)
    if not np.array_equal(np.sort(keys), np.arange(rows)) or links[:, 0].max() > base:
        raise UnknownLayout("nodes don't stand where they should")
    if int(links[:, 1:][np.arange(base) < links[:, :1]].max(initial=0)) >= rows:
        raise UnknownLayout("a link leads nowhere")
    return keys, links[:, 0], links[:, 1:], int(entry)
