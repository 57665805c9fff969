"""A tiny backbone for what doesn't need a real one, and one real export for what does."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fakes.steps import RecordedSteps
from twinset.images import PicturePipeline
from twinset_exporter import cli, tensorflow_noise
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.export import Request, Result, export
from twinset_exporter.preprocessing import Preprocessing
from twinset_exporter.repository import Repository
from twinset_exporter.weights import FileWeights, RandomWeights

tensorflow_noise.silence()
import keras  # noqa: E402 - after it was silenced
from keras import layers  # noqa: E402

SIZE = 16

# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
TENSORFLOW_WARNINGS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(TENSORFLOW_WARNINGS))


def tiny_network(height: int, width: int) -> keras.Model:
    pictures = keras.Input((height, width, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(pictures)
    x = layers.BatchNormalization()(x)
    skipped = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(skipped)
    x = layers.Add()([skipped, x])
    return keras.Model(pictures, layers.GlobalAveragePooling2D()(x), name="tiny")


TINY = Backbone(
    name="tiny",
    summary="for tests",
    network=tiny_network,
    size=SIZE,
    smallest_size=8,
    features=4,
    preprocessing=Preprocessing("RGB", (127.0, 127.0, 127.0), 128.0),
    preprocess=lambda pictures: (pictures.astype(np.float32) - np.float32(127)) / np.float32(128),
)
PIPELINE = PicturePipeline(SIZE, SIZE)


@pytest.fixture
def tiny() -> Backbone:
    return TINY


@pytest.fixture
def pipeline() -> PicturePipeline:
    return PIPELINE


@pytest.fixture
def steps() -> RecordedSteps:
    return RecordedSteps()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "models")
    repository.make()
    return repository


@pytest.fixture
def export_tiny(repository: Repository) -> Callable[[int], Result]:
    """Return what exports the tiny backbone with random weights of a seed."""
    return lambda seed: export(Request(TINY, RandomWeights(seed), PIPELINE), repository, RecordedSteps())


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Result]:
    """Return the same, which exports once for all tests; they copy it."""

    @cache
    def exported(seed: int) -> Result:
        folder = Repository(tmp_path_factory.mktemp("tiny"))
        return export(Request(TINY, RandomWeights(seed), PIPELINE), folder, RecordedSteps())

    return exported


@pytest.fixture
def tiny_model(repository: Repository, exported_tiny: Callable[[int], Result]) -> Callable[[int], Result]:
    """Return what puts the tiny backbone with random weights of a seed, once exported, into the test's repository."""

    def copied(seed: int) -> Result:
        result = exported_tiny(seed)
        path = repository.root / result.path.name
        shutil.copytree(result.path, path)
        return dataclasses.replace(result, path=path)

    return copied


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The packaged backbone, exported for real."""
    backbone = BACKBONES["efficientnet_lite0"]
    assert backbone.packaged_weights is not None
    request = Request(backbone, FileWeights(backbone.packaged_weights), PicturePipeline(backbone.size, backbone.size))
    return export(request, Repository(tmp_path_factory.mktemp("models")), RecordedSteps())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["twinset-exporter", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as done:
            cli.main()
        told = capsys.readouterr()
        assert isinstance(done.value.code, int)
        return done.value.code, told.out, told.err

    return run
