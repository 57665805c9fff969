"""From McAuley's Amazon files, generated in their exact formats, to a head that knows what was also bought."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.amazon_sample import Sample, write_sample
from twinset.contract import Metric
from twinset_exporter.datasets import amazon, splits
from twinset_exporter.datasets.pairs import Pairs
from twinset_exporter.measures import pairs as measure
from twinset_exporter.training import loop
from twinset_exporter.training.compatibility import crossfit, published
from twinset_exporter.training.compatibility.categories import numbered
from twinset_exporter.training.compatibility.examples import Items, named, of_pairs
from twinset_exporter.training.compatibility.sampling import CategoryIndex
from twinset_exporter.training.compatibility.trainer import Recipe

ITEMS = 1_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("amazon")


@pytest.fixture(scope="module")
def sample(folder: Path) -> Sample:
    return write_sample(folder, items=ITEMS, pairs=20_000, categories=4)


@pytest.fixture(scope="module")
def features(folder: Path, sample: Sample) -> amazon.Features:
    return amazon.read_features(sample.features, folder / "features.npy")


@pytest.fixture(scope="module")
def metadata(sample: Sample, features: amazon.Features) -> amazon.Metadata:
    return amazon.read_metadata(sample.metadata, item_ids=features.ids)


@pytest.fixture(scope="module")
def items(features: amazon.Features, metadata: amazon.Metadata) -> Items:
    categories = [category or "" for category in metadata.categories]
    names = named(categories)
    return Items(features.ids, features.rows, numbered(categories, names), names, np.arange(ITEMS))


@pytest.fixture(scope="module")
def parts(metadata: amazon.Metadata) -> dict[str, Pairs]:
    split = splits.pair_parts(metadata.pairs, {"train": 0.8, "test": 0.2}, seed=0)
    return {name: metadata.pairs.rows(places) for name, places in split.parts.items()}


@contextmanager
def unwatched(name: str, settings: loop.Settings) -> Iterator[loop.Progress]:
    yield lambda epoch, best: None


@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.INNER_PRODUCT])
def test_a_head_tells_what_was_also_bought_from_others_of_its_category(
    metric: Metric, items: Items, parts: dict[str, Pairs]
) -> None:
    examples = of_pairs(parts["train"], parts["test"], items, seed=0, same_category=True)
    recipe = Recipe(metric=metric, dimension=8, epochs=16, batch=512, others=128, random=1.0, same_category=1.0)

    trained = crossfit.train(items, [examples], None, recipe, seed=0, watch=unwatched)

    for judged in (trained.known, trained.alone):
        assert np.mean((judged.log_odds > 0) == judged.truths) > 0.75
        assert judged.auc > 0.85


@pytest.mark.parametrize("metric", [Metric.EUCLIDEAN, Metric.INNER_PRODUCT])
def test_the_published_loop_learns_from_the_same_files(metric: Metric, items: Items, parts: dict[str, Pairs]) -> None:
    examples = of_pairs(parts["train"], parts["test"], items, seed=0, same_category=True)
    assert examples.validation is not None
    held, train = examples.validation, parts["train"]
    others = CategoryIndex(items.categories, examples.items).draw(train.right, np.random.default_rng(0))
    loop = published.PublishedLoop(items.features, metric, seed=0, compiled=True)

    loop.run(published.steps(train.left, train.right, others, 3_000, seed=0))

    log_odds = loop.model().log_odds(items.features, held.sources, held.targets)
    assert np.isfinite(log_odds).all()
    assert measure.auc(log_odds[held.truths], log_odds[~held.truths]) > 0.55
