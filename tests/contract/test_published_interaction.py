"""What the exporter publishes to rank by factors, in the real tritonserver."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from fakes.steps import RecordedSteps
from twinset.factors import FoldIn
from twinset_exporter.interaction.comparison import sample
from twinset_exporter.interaction.publication import Request, publish
from twinset_exporter.interaction.runtime import InteractionOnTriton
from twinset_exporter.own_triton import own_triton
from twinset_exporter.repository import Repository
from twinset_exporter.training.taste import factor_files, interaction


# Keras reads TensorFlow's variables with an `__array__` that NumPy 2 finds old.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.slow
def test_triton_ranks_4096_candidates_in_one_request(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items, users = (rng.normal(size=(rows, 6)).astype(np.float32) for rows in (50, 4))
    factor_files.write(
        tmp_path / "factors",
        item_ids=[f"i{row}" for row in range(50)],
        items=items,
        user_ids=tuple("abcd"),
        users=[users],
        fold_in=FoldIn(items[:, :-1], items[:, :-1], items[0, :-1], 0.25),
    )
    keras.utils.set_random_seed(1)
    network = interaction.network(6, 0.25)
    for weight in network.weights:
        weight.assign(rng.normal(size=weight.shape))
    network.save(tmp_path / "interaction.keras")
    repository = Repository(tmp_path / "models")
    repository.make()
    asked = Request(tmp_path / "interaction.keras", tmp_path / "factors", triton=False)
    published, _ = publish(asked, repository, RecordedSteps())
    pairs = sample(users, items)
    expected = network.predict({"user": pairs[0], "item": pairs[1]}, batch_size=4096, verbose=0).ravel()
    with (
        own_triton(repository.root, published.path.name) as (address, name),
        InteractionOnTriton(address, name) as served,
    ):
        np.testing.assert_allclose(served.scores(*pairs, 4096), expected, atol=1e-3)
        np.testing.assert_allclose(served.scores(pairs[0][:3], pairs[1][:3], 1), expected[:3], atol=1e-3)
