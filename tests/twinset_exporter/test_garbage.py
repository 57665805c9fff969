from __future__ import annotations

import gc
import weakref

from twinset_exporter.garbage import collected_eagerly


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_circles_go_while_it_is_open_and_the_collector_is_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with collected_eagerly():
        circle = weakref.ref(Circle())
        kept = [[number] for number in range(1000)]  # which makes the collector count
        assert circle() is None
    assert len(kept) == 1000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
