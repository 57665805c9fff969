from twinset_server.catalog.store.pacing import Pacing


class Index:
    """As many vectors outside as the test says, and a clock that it sets."""

    def __init__(self) -> None:
        self.outside = 0
        self.now = 100.0
        self.pacing = Pacing(1000, lambda: self.outside, lambda: self.now)


def test_nothing_is_held_up_to_the_bound() -> None:
    index = Index()
    index.outside = 1000
    assert index.pacing.hold_s(64) == 0


def test_what_brings_no_vector_is_never_held() -> None:
    index = Index()
    index.outside = 5000
    assert index.pacing.hold_s(0) == 0


def test_a_vector_takes_the_longer_the_more_stand_outside() -> None:
    index = Index()
    index.outside = 1100
    little = index.pacing.hold_s(64)
    index.now += 10
    index.outside = 1500
    much = index.pacing.hold_s(64)
    assert little > 0
    assert abs(much / little - 5) < 1e-6


def test_callers_share_one_rate() -> None:
    index = Index()
    index.outside = 2000
    holds = [index.pacing.hold_s(100) for _ in range(3)]
    assert [round(hold, 6) for hold in holds] == [0.1, 0.2, 0.3]


def test_no_answer_is_held_for_more_than_a_second() -> None:
    index = Index()
    index.outside = 1_000_000
    assert [index.pacing.hold_s(1000) for _ in range(3)] == [1.0, 1.0, 1.0]


def test_vectors_are_refused_far_beyond_the_bound() -> None:
    index = Index()
    index.outside = 10_000
    assert index.pacing.refusal() is None
    index.outside = 10_001
    refusal = index.pacing.refusal()
    assert refusal is not None
    assert "10001 vectors" in refusal.message
    assert refusal.retry_after_s > 0
