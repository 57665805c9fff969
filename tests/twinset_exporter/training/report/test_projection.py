import numpy as np
import pytest
from numpy.typing import NDArray

from twinset_exporter.training.report.projection import project

FloatArray = NDArray[np.float64]
RNG = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(3), 20)
VECTORS = (np.eye(3)[GROUPS] @ RNG.normal(size=(3, 60)) + 0.2 * RNG.normal(size=(60, 60))).astype(np.float32)


def test_neighbours_stay_neighbours() -> None:
    points = project(VECTORS, seed=0).points
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (GROUPS[distances.argmin(axis=1)] == GROUPS).mean() > 0.95


def test_one_seed_gives_one_map_whatever_the_lengths() -> None:
    first, second = project(VECTORS, seed=3).points, project(VECTORS * 4, seed=3).points
    assert np.array_equal(first, second)


def test_many_items_are_sampled_and_the_note_says_so() -> None:
    projection = project(VECTORS, seed=1, most=12)
    assert projection.points.shape == (12, 2)
    assert np.all(np.diff(projection.rows) > 0)
    assert "a sample of 12 of the 60 items" in projection.note


def test_a_vector_that_is_not_finite_is_named() -> None:
    broken = VECTORS.copy()
    broken[7, 0] = np.nan
    with pytest.raises(ValueError, match="row 7 of the vectors is not finite"):
        project(broken, seed=0)


def test_two_items_are_no_map() -> None:
    with pytest.raises(ValueError, match="a map needs three items"):
        project(VECTORS[:2], seed=0)


@pytest.mark.parametrize("vectors", [np.ones((10, 5)), np.zeros((10, 5)), np.eye(3), np.linspace(-1, 1, 12)[:, None]])
def test_equal_few_and_narrow_vectors_have_a_map_too(vectors: FloatArray) -> None:
    points = project(vectors, seed=0).points
    assert np.isfinite(points).all()
    assert points.std() > 0
