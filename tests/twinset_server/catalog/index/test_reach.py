import numpy as np
import pytest
from usearch.index import Index

from twinset_server.catalog.index.reach import UnknownLayout, unreachable


def saved(rows: int, *, threads: int = 1) -> np.ndarray:
    index = Index(ndim=8, metric="ip", dtype="bf16", connectivity=4, enable_key_lookups=False)
    vectors = np.random.default_rng(3).standard_normal((rows, 8)).astype(np.float32)
    index.add(np.arange(rows, dtype=np.uint64), vectors, threads=threads)
    return np.frombuffer(index.save(), np.uint8)


def lost(content: np.ndarray, rows: int) -> set[int]:
    """Return the rows that the widest walk doesn't come to."""
    index = Index.restore(content.tobytes())
    assert index is not None
    index.expansion_search = 16 * rows  # type: ignore[misc]
    found = index.search(np.ones(8, np.float32), rows)
    return set(range(rows)) - set(np.asarray(found.keys).tolist())


@pytest.mark.parametrize("threads", [1, 2])
def test_strays_are_what_the_widest_walk_does_not_find(threads: int) -> None:
    content = saved(3000, threads=threads)
    expected = lost(content, 3000)
    assert expected, "with few links, and lengths that differ, some are nobody's neighbours"
    assert set(unreachable(content).tolist()) == expected


def test_one_row_is_its_own_entry() -> None:
    assert len(unreachable(saved(1))) == 0


@pytest.mark.parametrize("cut", [0, 7, 100, 3000, -1])
def test_what_is_no_graph_is_told(cut: int) -> None:
    with pytest.raises(UnknownLayout):
        unreachable(saved(50)[:cut])


def test_links_that_lead_nowhere_are_told() -> None:
    content = saved(50).copy()
    content[-30:] = 255
    with pytest.raises(UnknownLayout):
        unreachable(content)
