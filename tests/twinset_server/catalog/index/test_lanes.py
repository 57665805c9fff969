from twinset_server.catalog.index.lanes import Lane, Lanes


def test_a_lane_is_behind_those_that_go_first_while_they_are_at_work() -> None:
    lanes = Lanes()
    with lanes.at_work(Lane.BRIEF):
        assert [lanes.is_behind(lane) for lane in Lane] == [False, False, True]
    assert not any(lanes.is_behind(lane) for lane in Lane)


def test_a_lane_that_failed_is_no_longer_at_work() -> None:
    lanes = Lanes()
    try:
        with lanes.at_work(Lane.FOLD):
            raise OSError
    except OSError:
        pass
    assert not lanes.is_behind(Lane.LONG)
