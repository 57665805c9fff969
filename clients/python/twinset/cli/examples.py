"""Examples on the command line: `--like shoes/1`, `--away @photo.jpg`, `--complete sofa^0.5`, `--for ann`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinset.cli.problem import Problem
from twinset.images import PictureError, read_header
from twinset.recommendations import Example, Relation

_WEIGHTED = re.compile(r"(?P<subject>.+)\^(?P<weight>\d+(?:\.\d+)?|\.\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Kind:
    """What an option's examples are.

    Attributes:
        option: its name, without dashes.
        relation: of its examples.
        sign: of their weights.
        user: whether they are users.
    """

    option: str
    relation: Relation
    sign: float = 1.0
    user: bool = False


KINDS = (
    Kind("like", "similar_to"),
    Kind("away", "similar_to", sign=-1.0),
    Kind("complete", "completes"),
    Kind("completed-by", "completed_by"),
    Kind("for", "liked_by", user=True),
)


@dataclass(frozen=True, slots=True)
class Named:
    """An example, what a page calls it, and which option it came from."""

    example: Example
    name: str
    option: str


def read_examples(given: Sequence[Sequence[str]]) -> list[Named]:
    """Return the examples of the options of `KINDS`, in their order.

    Raises:
        Problem: a picture can't be read.
    """
    return [named for kind, values in zip(KINDS, given, strict=True) for named in _of(kind, values)]


def read_picture(path: Path) -> bytes:
    """Return the content of a picture.

    Raises:
        Problem: it can't be read, or is none.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} can't be read: {error.strerror}") from error
    try:
        read_header(content)
    except PictureError as error:
        raise Problem(f"{path}: {error}") from error
    return content


def _of(kind: Kind, values: Sequence[str]) -> Iterator[Named]:
    for value in values:
        weighted = _WEIGHTED.fullmatch(value)
        subject = weighted["subject"] if weighted else value
        weight = kind.sign * (float(weighted["weight"]) if weighted else 1.0)
        if kind.user:
            example = Example(user=subject, relation=kind.relation, weight=weight)
        elif subject.startswith("@"):
            path = Path(subject[1:])
            example = Example(picture=read_picture(path), relation=kind.relation, weight=weight)
            subject = path.name
        else:
            example = Example(item=subject, relation=kind.relation, weight=weight)
        yield Named(example, subject, kind.option)
