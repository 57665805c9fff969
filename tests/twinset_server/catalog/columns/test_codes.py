import numpy as np
import pytest

from twinset_server.catalog.columns import codes as codes_module
from twinset_server.catalog.columns.codes import Codes32, CodesWriter


def array(*codes: int) -> Codes32:
    return np.array(codes, np.int32)


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes_module, "_LEAST_LOG", 4)


def test_what_was_published_stays_as_it_was() -> None:
    writer = CodesWriter(array(1, 2, 3))
    before = writer.publish()
    writer.extend(5, 7)
    writer.write(np.array([1, 4]), array(9, 8))
    after = writer.publish()
    np.testing.assert_array_equal(before.array, [1, 2, 3])
    np.testing.assert_array_equal(after.array, [1, 9, 3, 7, 8])


def test_the_last_of_several_changes_to_one_place_counts() -> None:
    writer = CodesWriter(array(1, 2))
    writer.publish()
    for code in (5, 6, 1, 4):
        writer.write(np.array([0]), array(code))
    np.testing.assert_array_equal(writer.publish().array, [4, 2])


def test_the_codes_it_began_with_are_never_written_to() -> None:
    given = array(*range(2000))
    given.flags.writeable = False
    writer = CodesWriter(given)
    for start in range(0, 2000, 100):
        writer.write(np.arange(start, start + 100), np.full(100, -1, np.int32))
        writer.publish()
    assert (writer.publish().array == -1).all()
    np.testing.assert_array_equal(given, np.arange(2000))


def test_codes_that_are_written_again_as_they_are_publish_nothing() -> None:
    writer = CodesWriter(array(1, 2))
    before = writer.publish()
    writer.write(np.array([0, 1]), array(1, 2))
    writer.extend(2, 0)
    assert writer.publish() is before


@pytest.mark.usefixtures("small_log")
def test_a_change_after_the_log_was_full_leaves_what_is_published_alone() -> None:
    writer = CodesWriter(array(0, 0, 0))
    published = [writer.publish()]
    for step in range(1, 40):
        writer.write(np.array([step % 3]), array(step))
        published.append(writer.publish())
    for step, codes in enumerate(published):
        expected = [max((one for one in range(step + 1) if one and one % 3 == place), default=0) for place in range(3)]
        np.testing.assert_array_equal(codes.array, expected)


@pytest.mark.usefixtures("small_log")
@pytest.mark.parametrize("seed", range(10))
def test_any_writing_leaves_every_state_that_was_published_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    writer = CodesWriter.of_none(int(rng.integers(4)))
    truth = np.zeros(len(writer.publish()), np.int32)
    held = []
    for _ in range(120):
        if rng.random() < 0.3:
            more, code = int(rng.integers(1, 6)), int(rng.integers(3))
            writer.extend(len(truth) + more, code)
            truth = np.concatenate([truth, np.full(more, code, np.int32)])
        places = rng.permutation(len(truth))[: rng.integers(1, 9)]
        if len(places):
            codes = rng.integers(0, 9, len(places)).astype(np.int32)
            writer.write(places, codes)
            truth[places] = codes
        if rng.random() < 0.6:
            held.append((writer.publish(), truth.copy()))
    for published, expected in held:
        table = rng.random(10) < 0.5
        np.testing.assert_array_equal(published.truth(table), table[expected])
        np.testing.assert_array_equal(published.array, expected)


@pytest.mark.parametrize("wanted", [[], [0], [3], [1, 2, 3], [0, 1, 2], [8, 9], [1, 5, 9], list(range(10))])
def test_truths_are_those_of_the_table(wanted: list[int]) -> None:
    codes = np.random.default_rng(0).integers(0, 10, 200_000).astype(np.int32)
    writer = CodesWriter(codes[:150_000])
    writer.extend(200_000, 0)
    writer.write(np.arange(150_000, 200_000), codes[150_000:])
    table = np.zeros(10, np.bool_)
    table[wanted] = True
    np.testing.assert_array_equal(writer.publish().truth(table), table[codes])
