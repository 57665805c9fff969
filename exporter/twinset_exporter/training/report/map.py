"""A map of items: points that show their pictures, coloured by any attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.training.report import atlas
from twinset_exporter.training.report.album import Album, jpeg_address
from twinset_exporter.training.report.json_block import json_block

_RESOLUTION = 10_000


@dataclass(frozen=True, slots=True)
class Map:
    """Points on a plane; `projection` makes them.

    Attributes:
        points: `[N, 2]`, finite.
        names: N names.
        attributes: N values by attribute; texts are classes, floats a scale. The first colours the map at first.
        thumbnails: N pictures, or None for no pictures at all.

    Raises:
        ValueError: something has another length than `points`, or isn't finite.
    """

    points: NDArray[np.floating]
    names: Sequence[str]
    attributes: Mapping[str, Sequence[str] | NDArray[np.floating]] = field(default_factory=dict)
    thumbnails: Sequence[bytes | None] | None = None
    title: str = "Map"
    note: str = ""

    def __post_init__(self) -> None:
        count = len(self.points)
        if self.points.shape != (count, 2) or not count or not np.isfinite(self.points).all():
            raise ValueError(f"map: points must be finite and of shape [N, 2], these have {self.points.shape}")
        lengths = {"names": len(self.names), **{name: len(values) for name, values in self.attributes.items()}}
        if self.thumbnails is not None:
            lengths["thumbnails"] = len(self.thumbnails)
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"map: {length} values of {name} for {count} points")

    def markup(self, album: Album) -> str:
        """Return the map's data and the frame that `map.js` fills."""
        sheet = atlas.lay_out(self.thumbnails) if self.thumbnails is not None else None
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        scale = _RESOLUTION / max(float((high - low).max()), 1e-12)
        content: dict[str, Any] = {
            "points": np.rint((self.points - low) * scale).astype(int).ravel().tolist(),
            "names": list(self.names),
            "attributes": [_attribute(name, values) for name, values in self.attributes.items()],
        }
        if sheet is not None:
            content["atlas"] = {
                "address": jpeg_address(sheet.jpeg),
                "cell": atlas.CELL,
                "columns": sheet.columns,
                "cells": list(sheet.cells),
            }
        return f'<div class="panel map">{json_block(content)}<noscript>The map needs JavaScript.</noscript></div>'


def _attribute(name: str, values: Sequence[str] | NDArray[np.floating]) -> dict[str, Any]:
    if isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.floating):
        # NaN is no JSON.
        return {"name": name, "scale": [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]}
    texts = [str(value) for value in values]
    classes, counts = np.unique(texts, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    place = {str(classes[at]): rank for rank, at in enumerate(order.tolist())}
    return {"name": name, "classes": list(place), "codes": [place[text] for text in texts]}
