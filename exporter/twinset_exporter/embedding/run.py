"""One run: pictures through Triton into parts, in order, a bounded number of them at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.contract import Metric, ModelContract
from twinset.folder import IdRule
from twinset.vectors.manifest import Format, Manifest, OutputVectors
from twinset_exporter.embedding.files import write_files
from twinset_exporter.embedding.parts import OutputFolder, Part
from twinset_exporter.embedding.pictures import BadPicture, Listing
from twinset_exporter.errors import UsageError
from twinset_exporter.triton_model import TritonModel

SMALLEST_CHUNK = 4
_BATCH = 16
_REQUESTS_AHEAD = 2
"""Threads beyond one a core: while these wait for Triton, the others decode."""
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Request:
    """What to embed.

    Attributes:
        outputs: names of the model's outputs; none means those that fill a space.
        format: of the files.
        id_rule: how ids follow from files.
        chunk: pictures that a run which is killed may have to do again, at most; `SMALLEST_CHUNK` or more.
    """

    outputs: Sequence[str]
    format: Format
    id_rule: IdRule
    chunk: int = 512


@dataclass(frozen=True, slots=True)
class Result:
    """What there is now; `fresh` pictures were done by this run, and the others by runs before it."""

    manifest: Manifest
    fresh: int


def embed(
    model: TritonModel, listing: Listing, request: Request, folder: OutputFolder, progress: Callable[[int], None]
) -> Result:
    """Embed every picture of the listing into the folder, or what a run before has left to do.

    Memory holds the ids, and at most a chunk of pictures or rows.

    Args:
        model: what embeds.
        listing: the pictures.
        request: how.
        folder: where to.
        progress: called with the number of pictures that are done.

    Raises:
        UsageError: the request doesn't fit the model, or the folder belongs to another run.
        ExportError: Triton fails for good; what is done is kept.
        OSError: the disk fails or is full; what is done is kept.
    """
    manifest = folder.begin(_manifest(model, listing, request))
    if manifest.complete:
        folder.drop_parts()
        progress(len(listing))
        return Result(manifest, 0)
    parts = range(-(-len(listing) // manifest.part))
    missing = [number for number in parts if not folder.has_part(number)]
    before = len(listing) - sum(len(_places(listing, manifest, number)) for number in missing)
    fresh = 0
    progress(before)
    for number, part in _parts(model, listing, manifest, request.chunk, missing):
        folder.write_part(number, part)
        fresh += len(part.places) + len(part.failures)
        progress(before + fresh)
    failures = write_files(folder, manifest, listing, parts)
    return Result(folder.finish(manifest, len(failures)), fresh)


def sizes(chunk: int, max_batch: int) -> tuple[int, int]:
    """Return the pictures in a part and in a batch.

    What isn't on disk yet is a part that fills up and the batches under way: together at most a chunk.
    """
    part = chunk // 2
    return part, min(_BATCH, max_batch, max(1, (chunk - part) // 2))


def _manifest(model: TritonModel, listing: Listing, request: Request) -> Manifest:
    if request.chunk < SMALLEST_CHUNK:
        raise UsageError(f"--chunk {request.chunk}: take {SMALLEST_CHUNK} or more")
    contract = model.contract
    spaces = {space.output: space.name for space in contract.spaces}
    names = list(dict.fromkeys(request.outputs)) or list(spaces)
    if unknown := [name for name in names if name not in model.outputs]:
        raise UsageError(f"--outputs: {model.name} has no {', '.join(unknown)}; it has {', '.join(model.outputs)}")
    if request.format == "text" and len(names) != 1:
        raise UsageError(f"--format text holds one output, not {', '.join(names)}: name one with --outputs")
    return Manifest(
        model=contract.model,
        fingerprint=contract.fingerprint,
        outputs={
            name: OutputVectors(model.outputs[name], spaces.get(name, ""), _own_fingerprint(contract, name))
            for name in names
        },
        id_rule=request.id_rule,
        format=request.format,
        pictures=listing.digest,
        count=len(listing),
        part=sizes(request.chunk, model.max_batch)[0],
    )


def _own_fingerprint(contract: ModelContract, output: str) -> str:
    """Return the fingerprint of an ensemble's output, nothing where it is the model's."""
    fingerprint = contract.fingerprint_of(output)
    return "" if fingerprint == contract.fingerprint else fingerprint


def _parts(
    model: TritonModel, listing: Listing, manifest: Manifest, chunk: int, missing: Sequence[int]
) -> Iterator[tuple[int, Part]]:
    """Embed the missing parts and yield each once it is whole, while the next one is under way."""
    part, batch = sizes(chunk, model.max_batch)
    threads = max(1, min((os.cpu_count() or 1) + _REQUESTS_AHEAD, (chunk - part) // batch))
    work = (
        (number, places[start : start + batch])
        for number in missing
        for places in (_places(listing, manifest, number),)
        for start in range(0, len(places), batch)
    )
    batches = _Batches(model, listing, tuple(manifest.outputs))
    pool = ThreadPoolExecutor(threads, thread_name_prefix="embed")
    ahead: deque[tuple[int, Future[Part]]] = deque()
    gathered: list[Part] = []
    try:
        for number, places in work:
            ahead.append((number, pool.submit(batches.embed, places)))
            if len(ahead) < threads:
                continue
            yield from _take(ahead, gathered, manifest, listing)
        while ahead:
            yield from _take(ahead, gathered, manifest, listing)
    finally:
        # What Triton works on is waited for, and what hasn't begun is dropped.
        pool.shutdown(wait=True, cancel_futures=True)


def _take(
    ahead: deque[tuple[int, Future[Part]]], gathered: list[Part], manifest: Manifest, listing: Listing
) -> Iterator[tuple[int, Part]]:
    """Wait for the oldest batch; yield its part where that is whole now."""
    number, future = ahead.popleft()
    gathered.append(future.result())
    if sum(len(part.places) + len(part.failures) for part in gathered) == len(_places(listing, manifest, number)):
        whole = _join(gathered)
        gathered.clear()
        yield number, whole


def _places(listing: Listing, manifest: Manifest, number: int) -> range:
    return range(number * manifest.part, min((number + 1) * manifest.part, len(listing)))


def _join(parts: Sequence[Part]) -> Part:
    return Part(
        places=np.concatenate([part.places for part in parts]),
        rows={name: np.concatenate([part.rows[name] for part in parts]) for name in parts[0].rows},
        failures={place: reason for part in parts for place, reason in part.failures.items()},
    )


class _Batches:
    """Turns places into rows: decodes, asks Triton, looks at the answer. Called in threads."""

    def __init__(self, model: TritonModel, listing: Listing, outputs: Sequence[str]) -> None:
        self._model, self._listing, self._outputs = model, listing, outputs
        filled = {space.output for space in model.contract.spaces if space.metric is Metric.COSINE}
        self._unit = filled.intersection(outputs)

    def embed(self, places: Sequence[int]) -> Part:
        failures: dict[int, str] = {}
        good: list[int] = []
        pictures: list[NDArray[np.uint8]] = []
        for place in places:
            try:
                pictures.append(self._listing.load(place, self._model.contract.pipeline))
                good.append(place)
            except BadPicture as error:
                failures[place] = str(error)
        if not good:
            empty = {name: np.empty((0, self._model.outputs[name]), np.float32) for name in self._outputs}
            return Part(np.empty(0, np.int64), empty, failures)
        rows = self._model.infer(np.stack(pictures), self._outputs)
        usable = np.ones(len(good), bool)
        for name, values in rows.items():
            for row in np.flatnonzero(~np.isfinite(values).all(axis=1) & usable):
                failures[good[row]] = f"the model's {name} of it has components that are not finite numbers"
                usable[row] = False
            if name not in self._unit:
                continue
            for row in np.flatnonzero((np.abs(np.linalg.norm(values, axis=1) - 1) > _UNIT_TOLERANCE) & usable):
                failures[good[row]] = f"the model's {name} of it isn't of unit length"
                usable[row] = False
        return Part(np.array(good, np.int64)[usable], {name: values[usable] for name, values in rows.items()}, failures)
