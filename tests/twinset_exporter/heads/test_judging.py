"""Heads on a backbone of lower precision that serves the fp32 fingerprint are judged space by space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fakes.heads import save_head
from twinset.contract import Gate, Metric
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.export import Result
from twinset_exporter.heads.judging import fp32_features, judge
from twinset_exporter.heads.network import HeadNetwork, load
from twinset_exporter.heads.specification import Head, Use
from twinset_exporter.precision.gate import queries_recall
from twinset_exporter.repository import MODEL, Repository

RECORD = Gate("a" * 64, 60, 0.995, 0.99, serves_reference=True, loss_accepted=False)


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)


@pytest.fixture
def head(tmp_path: Path) -> Callable[[Use], HeadNetwork]:
    file = save_head(tmp_path / "a.keras", 16, {"out": 8})
    return lambda use: load(Head("a", file, use), 16)


@pytest.mark.parametrize("metric", list(Metric))
def test_vectors_that_find_the_same_pass(
    head: Callable[[Use], HeadNetwork], features: np.ndarray, metric: Metric
) -> None:
    judge([head(Use("a", metric))], features * np.float32(1 + 1e-6), features, RECORD)


@pytest.mark.parametrize("metric", list(Metric))
def test_vectors_that_find_others_are_refused(
    head: Callable[[Use], HeadNetwork], features: np.ndarray, metric: Metric
) -> None:
    with pytest.raises(ExportError, match=r"in the space a the head's queries .* keep only 0\."):
        judge([head(Use("a", metric))], features[::-1], features, RECORD)


def test_an_output_that_fills_no_space_is_not_judged(head: Callable[[Use], HeadNetwork], features: np.ndarray) -> None:
    judge([head(Use())], features[::-1], features, RECORD)


def test_recall_is_by_the_metric_of_the_space() -> None:
    # Short vectors among long ones: the inner product finds the long, the distance the near.
    rows = np.concatenate([np.eye(12, dtype=np.float32), 9 * np.eye(12, dtype=np.float32)])
    assert queries_recall(rows, rows, Metric.EUCLIDEAN) == 1
    moved = rows + np.float32(20)
    assert queries_recall(rows, moved, Metric.EUCLIDEAN) != queries_recall(rows, moved, Metric.INNER_PRODUCT)


def test_without_the_fp32_model_nothing_can_be_judged(
    tiny_model: Callable[[int], Result], repository: Repository
) -> None:
    published = tiny_model(1)
    lower = dataclasses.replace(published.contract, precision="fp16", artifact="b" * 64, gate=RECORD)
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    assert fp32_features(repository, lower, pictures).shape == (2, 4)
    (published.path / MODEL).unlink()
    with pytest.raises(ExportError, match=r"tiny-[0-9a-f]{8}, the fp32 model .* is missing or damaged"):
        fp32_features(repository, lower, pictures)


def test_too_few_pictures_judge_nothing(head: Callable[[Use], HeadNetwork], features: np.ndarray) -> None:
    with pytest.raises(UsageError, match="32 pictures or more"):
        judge([head(Use("a", Metric.COSINE))], features[:31], features[:31], RECORD)
