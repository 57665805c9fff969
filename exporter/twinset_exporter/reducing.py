"""Shortens a network's features by what a folder of pictures looks like to it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinset.contract import Metric
from twinset.images import PicturePipeline
from twinset_exporter.embedding.pictures import BadPicture, Listing, list_pictures
from twinset_exporter.errors import UsageError
from twinset_exporter.outputs import FEATURES
from twinset_exporter.reduction import FeatureFile, fit, recall
from twinset_exporter.runtime import Runtime
from twinset_exporter.steps import Steps

if TYPE_CHECKING:
    import keras

PARAMETER = "twinset.reduction"
"""Under which the report lies in a model's config, beside the contract."""

_BATCH = 16


@dataclass(frozen=True, slots=True)
class ReductionRequest:
    """Reduce the features to `dimension`, fitted to the pictures of the listing."""

    dimension: int
    listing: Listing

    @classmethod
    def of(cls, dimension: int, folder: Path) -> ReductionRequest:
        """Return the request for the pictures below `folder`.

        Raises:
            UsageError: there are none.
        """
        return cls(dimension, list_pictures(folder, "path"))

    def identity(self) -> str:
        """Return what enters the recipe."""
        return f"{self.dimension} {self.listing.digest}"


@dataclass(frozen=True, slots=True)
class ReductionReport:
    """What the reduction costs: the shares of variance and of ten nearest neighbours kept, on the same pictures."""

    features: int
    dimension: int
    pictures: int
    variance_kept: float
    recall_at_10: float

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return (
            f"{self.features:,} features to {self.dimension:,} on {self.pictures:,} pictures: variance kept "
            f"{self.variance_kept:.4f}, recall@10 of neighbours {self.recall_at_10:.4f}"
        )


def reduce(
    model: keras.Model,
    runtime: Runtime,
    request: ReductionRequest,
    pipeline: PicturePipeline,
    metric: Metric,
    steps: Steps,
) -> tuple[keras.Model, ReductionReport]:
    """Return the network that ends in the reduction, and what that costs.

    Args:
        model: the network.
        runtime: the same network as ONNX.
        request: what to reduce to, and on which pictures.
        pipeline: how pictures are made.
        metric: of the space that the reduced features fill.
        steps: told of the work.

    Raises:
        UsageError: there are too few good pictures, or the dimension can't be.
    """
    listing = request.listing
    full = runtime.dimensions[FEATURES.name]
    with tempfile.TemporaryDirectory(prefix="twinset-features-") as folder:
        features = FeatureFile(Path(folder) / "features", full)
        with steps.counted(f"Compute the {full:,} features of {len(listing):,} pictures", len(listing)) as progress:
            bad = _fill(features, runtime, listing, pipeline, progress)
        if bad:
            steps.note(f"{len(bad):,} pictures left out, such as {bad[0]}")
        with steps.step(f"Fit a reduction to {request.dimension:,}"):
            reduction = fit(features, request.dimension, metric)
        with steps.step("Compare neighbours before and after it"):
            report = ReductionReport(
                features=full,
                dimension=request.dimension,
                pictures=len(features),
                variance_kept=round(reduction.variance_kept, 6),
                recall_at_10=round(recall(features, reduction, metric), 6),
            )
    steps.note(str(report))
    return reduction.fold(model), report


def _fill(
    features: FeatureFile,
    runtime: Runtime,
    listing: Listing,
    pipeline: PicturePipeline,
    progress: Callable[[int], None],
) -> list[str]:
    """Append the features of the pictures, a batch at a time; return the bad files with their reasons."""
    bad: list[str] = []
    for start in range(0, len(listing), _BATCH):
        pictures = []
        for place in range(start, min(start + _BATCH, len(listing))):
            try:
                pictures.append(listing.load(place, pipeline))
            except BadPicture as error:
                bad.append(f"{listing.names[place]}: {error}")
        if pictures:
            rows = runtime.run(np.stack(pictures))[FEATURES.name]
            if not np.isfinite(rows).all():
                raise UsageError("the network's features are not finite on these pictures: mend its weights")
            features.append(rows)
        progress(min(start + _BATCH, len(listing)))
    return bad
