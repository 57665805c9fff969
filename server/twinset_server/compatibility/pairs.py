"""Probabilities that two sides go together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from twinset_server import limits
from twinset_server.compatibility.distances import all_distances, pair_distances
from twinset_server.compatibility.reading import SideReader
from twinset_server.compatibility.sides import Numbers, ReadSides, Side, Sides
from twinset_server.domain import Float32Array
from twinset_server.errors import TwinsetError
from twinset_server.pair_model import Float64Array, PairModel


@dataclass(frozen=True, slots=True)
class PairRequest:
    """What is asked of one pair; `prior` is the share of true pairs, None for the model's own."""

    left: Side
    right: Side
    both_directions: bool = False
    prior: float | None = None


@dataclass(frozen=True, slots=True)
class PairScore:
    """A pair's probability, 0 to 1, its distance, lower is better, and the pictures of items that it is between."""

    probability: float
    distance: float
    left_picture_id: str = ""
    right_picture_id: str = ""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """How well two sides go together.

    Attributes:
        model: what says so.
        prior: the share of true pairs that it holds for.
        score: from left to right.
        reverse: from right to left; None where it wasn't asked for.
        left_unknown: whether the left side is a picture or vector whose category the model doesn't know.
        right_unknown: the same of the right side.
        sequence: the last change that it saw.
    """

    model: PairModel
    prior: float
    score: PairScore
    reverse: PairScore | None
    left_unknown: bool
    right_unknown: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class PairsRequest:
    """What is asked of many pairs.

    Attributes:
        sides: the sides.
        left: `[P]`, the number of each pair's source.
        right: `[P]`, the number of its target.
        both_directions: whether each pair is also scored the other way round.
        prior: as in `PairRequest`.
    """

    sides: Sides
    left: Numbers
    right: Numbers
    both_directions: bool = False
    prior: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of pairs in one direction, NaN where a side failed: `[P]` probabilities, and `[P]` float32 distances."""

    probabilities: Float64Array
    distances: Float32Array


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """How well many sides go together.

    Attributes:
        model, prior, sequence: as in `ScoredPair`.
        scores: from left to right.
        reverse: from right to left; None where that wasn't asked for.
        failed: what befell a side, by number.
        unknown: numbers of pictures and vectors whose category the model doesn't know.
    """

    model: PairModel
    prior: float
    scores: Scores
    reverse: Scores | None
    failed: Mapping[int, TwinsetError]
    unknown: Sequence[int]
    sequence: int


class PairScorer:
    """Scores pairs."""

    def __init__(self, reader: SideReader) -> None:
        self._reader = reader

    async def score(self, request: PairRequest, *, timeout_s: float) -> ScoredPair:
        """Return the probability that two sides go together.

        Raises:
            InvalidRequest: a side is bad, or the prior no share.
            ItemNotFound, NoVector: an item isn't there, or has no vector of its side.
            SpaceMismatch, FingerprintMismatch: a vector is of another space or model.
            NoPairModel: no model tells of pairs.
            EmbedderUnavailable: a side is a picture and Triton is unreachable, or the model isn't known yet.
        """
        limits.check_prior(request.prior)
        sides, (left, right) = Sides.of({"left": request.left, "right": request.right})
        sources, targets = [left], [right]
        if request.both_directions:
            sources, targets = [left, right], [right, left]
        read = await self._reader.read(
            sides, np.array(sources, np.intp), np.array(targets, np.intp), timeout_s=timeout_s
        )
        read.check()
        return ScoredPair(
            read.model,
            read.model.contract.prior if request.prior is None else request.prior,
            _score(read, left, right, request.prior),
            _score(read, right, left, request.prior) if request.both_directions else None,
            left in read.unknown,
            right in read.unknown,
            read.state.sequence,
        )

    async def score_many(self, request: PairsRequest, *, timeout_s: float) -> ScoredPairs:
        """Return the probability of each pair; a side that fails makes NaN of its pairs, and is told of.

        Raises:
            InvalidRequest: the prior is no share.
            NoPairModel, FingerprintMismatch: no model tells of pairs.
            EmbedderUnavailable: the model isn't known yet.
        """
        limits.check_prior(request.prior)
        left, right = request.left, request.right
        sources, targets = left, right
        if request.both_directions:
            sources = targets = np.concatenate([left, right])
        read = await self._reader.read(request.sides, sources, targets, timeout_s=timeout_s)
        scores = await asyncio.to_thread(_scores, read, left, right, request.prior)
        reverse = None
        if request.both_directions:
            reverse = await asyncio.to_thread(_scores, read, right, left, request.prior)
        return ScoredPairs(
            read.model,
            read.model.contract.prior if request.prior is None else request.prior,
            scores,
            reverse,
            read.failed,
            read.unknown,
            read.state.sequence,
        )


def _scores(read: ReadSides, left: Numbers, right: Numbers, prior: float | None) -> Scores:
    distances = pair_distances(read.model.metric, read.source, read.target, left, right)
    return Scores(read.model.probabilities(distances, prior), distances)


def _score(read: ReadSides, left: int, right: int, prior: float | None) -> PairScore:
    rows = slice(*read.source.starts[left : left + 2])
    columns = slice(*read.target.starts[right : right + 2])
    distances = all_distances(read.model.metric, read.source.values[rows], read.target.values[columns])
    row, column = np.unravel_index(int(np.argmin(distances)), distances.shape)
    nearest = float(distances[row, column])
    return PairScore(
        float(read.model.probabilities(nearest, prior)),
        nearest,
        read.source.picture_ids[rows.start + int(row)],
        read.target.picture_ids[columns.start + int(column)],
    )
