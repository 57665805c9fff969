"""Answers that fit: at most 4 MiB, refused before the work where that can be told."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from twinset_server.errors import InvalidRequest
from twinset_server.limits import MAX_RESPONSE_BYTES
from twinset_server.ports import Embedder

_BYTES_BESIDE_VALUES = 256
"""What an output takes in an answer besides its floats: name, space, fingerprint and tags."""

_BYTES_BESIDE_A_CLASS = 16
"""What a prediction takes besides the class's name: its probability and tags."""


def check_size(field: str, response: Message) -> None:
    """Raise `InvalidRequest` where an answer is over the limit; `field` is the one to make smaller."""
    _check(field, response.ByteSize())


def check_embeddings(field: str, pictures: int, outputs: Sequence[str], embedder: Embedder, predictions: int) -> None:
    """Raise `InvalidRequest` where the outputs of so many pictures, and their predictions, would be over the limit."""
    size = sum(embedder.outputs[name] * 4 + _BYTES_BESIDE_VALUES for name in outputs)
    for classes in embedder.contract.class_outputs().values() if predictions else ():
        longest = sorted((len(name.encode()) + _BYTES_BESIDE_A_CLASS for name in classes), reverse=True)
        size += sum(longest[:predictions]) + _BYTES_BESIDE_VALUES
    _check(field, pictures * size + _BYTES_BESIDE_VALUES)


def _check(field: str, size: int) -> None:
    if size > MAX_RESPONSE_BYTES:
        raise InvalidRequest(
            field,
            f"asks for an answer of {size >> 10} KiB, {MAX_RESPONSE_BYTES >> 10} is the most: ask for less",
        )
