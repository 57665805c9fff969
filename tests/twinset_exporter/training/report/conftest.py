import numpy as np
import pytest

from twinset_exporter.training.report import thumbnails


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    """Small pictures, each of another grey."""
    return [thumbnails.of_pixels(np.full((30, 20, 3), 40 * number, np.uint8)) for number in range(5)]
