from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fakes.bulk import COUNT as COUNT_OF_PICTURES
from fakes.bulk import write_pictures
from fakes.steps import RecordedSteps
from twinset.card import read_card
from twinset.contract import Metric
from twinset.images import PicturePipeline
from twinset_exporter import reduction
from twinset_exporter.backbones.backbone import Backbone
from twinset_exporter.embedding.pictures import list_pictures
from twinset_exporter.errors import UsageError
from twinset_exporter.export import Request, Result, export
from twinset_exporter.precision import publication
from twinset_exporter.precision.publication import Precision
from twinset_exporter.reducing import PARAMETER, ReductionRequest
from twinset_exporter.reduction import FeatureFile, Reduction, fit, recall
from twinset_exporter.repository import PublishedModel, Repository
from twinset_exporter.runtime import Runtime
from twinset_exporter.weights import RandomWeights

COUNT, FULL, SHORT = 300, 120, 12


def rows(seed: int = 0, decay: float = 0.8) -> np.ndarray:
    """Return rows whose singular values fall, as those of features do, around a mean that isn't zero."""
    random = np.random.default_rng(seed)
    scales = decay ** np.arange(FULL)
    turned = np.linalg.qr(random.standard_normal((FULL, FULL)))[0]
    return ((random.standard_normal((COUNT, FULL)) * scales + 0.3) @ turned).astype(np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureFile:
    """A file of several blocks, the last one short."""
    monkeypatch.setattr(reduction, "_BLOCK_BYTES", 4 * FULL * 70)
    file = FeatureFile(tmp_path / "features", FULL)
    for part in np.split(rows(), [16, 100]):
        file.append(part)
    return file


def test_what_was_written_is_read_in_blocks(features: FeatureFile) -> None:
    assert (len(features), [len(block) for block in features.blocks()]) == (COUNT, [70, 70, 70, 70, 20])
    np.testing.assert_array_equal(np.concatenate(list(features.blocks())), rows())


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.EUCLIDEAN])
def test_the_reduction_keeps_as_much_as_the_exact_one(features: FeatureFile, metric: Metric) -> None:
    fitted = fit(features, SHORT, metric)
    exact = unit(rows()) if metric is Metric.COSINE else rows() - rows().mean(axis=0)
    squares = np.linalg.svd(exact.astype(np.float64), compute_uv=False) ** 2
    assert fitted.variance_kept == pytest.approx(squares[:SHORT].sum() / squares.sum(), rel=1e-4)
    lengths = np.linalg.norm(fitted.matrix, axis=0)
    np.testing.assert_allclose((fitted.matrix / lengths).T @ (fitted.matrix / lengths), np.eye(SHORT), atol=1e-5)
    if metric is Metric.COSINE:
        assert not fitted.offset.any()
        lost = 1 - squares[:SHORT].sum() / squares.sum()
        given = 0.25 * lost * squares.sum() / SHORT / squares[:SHORT]
        given[0] += 6 * lost
        np.testing.assert_allclose(lengths, np.sqrt(1 + given), rtol=1e-3)
    else:
        np.testing.assert_allclose(lengths, 1, rtol=1e-5)
        np.testing.assert_allclose(fitted(rows()).mean(axis=0), 0, atol=1e-4)


def test_the_energy_that_is_lost_and_given_back_keeps_neighbours(tmp_path: Path) -> None:
    file = FeatureFile(tmp_path / "features", FULL)
    file.append(np.maximum(rows(decay=0.97), 0))  # a long tail, and a mean, as after a ReLU
    given = fit(file, SHORT, Metric.COSINE)
    plain = Reduction(given.matrix / np.linalg.norm(given.matrix, axis=0), given.offset, given.variance_kept)
    assert given.variance_kept < 0.9
    assert recall(file, given, Metric.COSINE) > recall(file, plain, Metric.COSINE)


def test_where_nothing_is_lost_directions_keep_their_length(tmp_path: Path) -> None:
    file = FeatureFile(tmp_path / "features", FULL)
    file.append(rows()[:, :SHORT] @ np.eye(SHORT, FULL, dtype=np.float32))
    fitted = fit(file, SHORT, Metric.COSINE)
    np.testing.assert_allclose(np.linalg.norm(fitted.matrix, axis=0), 1, atol=1e-3)


def test_the_same_rows_give_the_same_reduction(features: FeatureFile) -> None:
    one, two = (fit(features, SHORT, Metric.COSINE) for _ in range(2))
    np.testing.assert_array_equal(one.matrix, two.matrix)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.EUCLIDEAN])
def test_recall_is_the_share_of_neighbours_that_survive(features: FeatureFile, metric: Metric) -> None:
    everything = Reduction(np.eye(FULL, dtype=np.float32), np.zeros(FULL, np.float32), 1.0)
    assert recall(features, everything, metric) == 1.0
    fitted = fit(features, SHORT, metric)
    found = [nearest(values, metric) for values in (rows(), fitted(rows()))]
    shares = [len(np.intersect1d(a, b)) / 10 for a, b in zip(*found, strict=True)]
    assert recall(features, fitted, metric) == pytest.approx(float(np.mean(shares)), abs=1e-3)
    poor = Reduction(np.eye(FULL, 1, dtype=np.float32), np.zeros(1, np.float32), 0.0)
    assert recall(features, poor, metric) < 0.3


def nearest(values: np.ndarray, metric: Metric) -> np.ndarray:
    wide = unit(values.astype(np.float64)) if metric is Metric.COSINE else values.astype(np.float64)
    distances = np.square(wide[:, np.newaxis] - wide[np.newaxis]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1)[:, :10]


@pytest.mark.parametrize(("dimension", "message"), [(0, "120 features"), (120, "120 features"), (119, "there are 50")])
def test_a_dimension_that_cant_be_is_refused(tmp_path: Path, dimension: int, message: str) -> None:
    file = FeatureFile(tmp_path / "features", FULL)
    file.append(rows()[:50])
    with pytest.raises(UsageError, match=message):
        fit(file, dimension, Metric.COSINE)


@pytest.fixture
def reduced(tmp_path: Path, repository: Repository, tiny: Backbone, pipeline: PicturePipeline) -> Callable[..., Result]:
    """Export the tiny backbone with its four features reduced, after a look at 40 pictures or more."""
    write_pictures(tmp_path / "photos")

    def run(dimension: int, count: int = COUNT_OF_PICTURES) -> Result:
        write_pictures(tmp_path / "photos", count)
        request = ReductionRequest.of(dimension, tmp_path / "photos")
        return export(Request(tiny, RandomWeights(0), pipeline, reduction=request), repository, RecordedSteps())

    return run


def test_a_reduced_model_is_another_one_and_says_what_it_keeps(
    reduced: Callable[..., Result], export_tiny: Callable[[int], Result], repository: Repository
) -> None:
    whole, three, two = export_tiny(0), reduced(3), reduced(2)
    assert len({result.contract.fingerprint for result in (whole, three, two)}) == 3
    assert [result.contract.spaces[0].dimension for result in (whole, three, two)] == [4, 3, 2]
    found = repository.model(two.contract.model)
    assert isinstance(found, PublishedModel)
    report = json.loads(found.parameters[PARAMETER])
    assert (report["features"], report["dimension"], report["pictures"]) == (4, 2, COUNT_OF_PICTURES)
    assert 0.5 < report["variance_kept"] <= 1
    assert 0 < report["recall_at_10"] <= 1
    assert read_card(two.path).content["reduction"] == report


def test_fp16_of_a_reduced_model_says_what_that_keeps(reduced: Callable[..., Result], repository: Repository) -> None:
    short = reduced(3)
    lower = publication.reduce(publication.Reduction(Precision.FP16), repository, short, RecordedSteps())
    found, source = (repository.model(result.contract.model) for result in (lower, short))
    assert isinstance(found, PublishedModel)
    assert isinstance(source, PublishedModel)
    assert found.parameters[PARAMETER] == source.parameters[PARAMETER]
    assert read_card(lower.path).content["reduction"] == read_card(short.path).content["reduction"]


def test_the_graph_computes_the_features_times_the_fitted_matrix(
    reduced: Callable[..., Result], export_tiny: Callable[[int], Result], tmp_path: Path, pipeline: PicturePipeline
) -> None:
    listing = list_pictures(tmp_path / "photos", "path")
    pictures = np.stack([listing.load(place, pipeline) for place in range(len(listing))])
    whole, short = (
        Runtime((result.path / "1" / "model.onnx").read_bytes()).run(pictures)
        for result in (export_tiny(0), reduced(2))
    )
    features = FeatureFile(tmp_path / "features", 4)
    features.append(whole["features"])
    np.testing.assert_allclose(short["features"], fit(features, 2, Metric.COSINE)(whole["features"]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(short["embedding"], axis=1), 1, atol=1e-5)


def test_the_same_reduction_again_is_found_and_other_pictures_are_not_it(reduced: Callable[..., Result]) -> None:
    assert [reduced(2).new, reduced(2).new] == [True, False]
    assert reduced(2, COUNT_OF_PICTURES + 8).new


def test_bad_pictures_are_left_out_and_told(
    tmp_path: Path, repository: Repository, tiny: Backbone, pipeline: PicturePipeline
) -> None:
    write_pictures(tmp_path / "photos")
    (tmp_path / "photos" / "notes.jpg").write_text("no picture")
    steps = RecordedSteps()
    request = ReductionRequest.of(2, tmp_path / "photos")
    export(Request(tiny, RandomWeights(0), pipeline, reduction=request), repository, steps)
    assert "1 pictures left out, such as notes.jpg: not a JPEG, PNG or WebP picture" in steps.notes
    # 16 at a time, the bad one too.
    assert steps.counts == [*range(16, COUNT_OF_PICTURES + 1, 16), COUNT_OF_PICTURES + 1]
