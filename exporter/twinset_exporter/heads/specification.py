"""What heads the user asks for: by `--head NAME=FILE.keras[:METRIC]`, or in a TOML file for what doesn't fit there.

name = "shop"                      # of the ensemble

[heads.category]                   # one output, called as its head
file = "category.keras"            # relative to this file
metric = "euclidean"               # it fills a space, called as its head unless `space` names another

[heads.kind]
file = "kind.keras"
classes = ["boot", "sandal"]       # it fills none; its components have names. Or a file with one name a line:
                                   # classes = "kinds.txt"

[heads.pair]                       # several outputs, called as in the Keras model
file = "pair.keras"
categories = ["sofa", "lamp"]      # what its second input, `category`, counts from 1 on; or a file, like classes
outputs.source = { space = "pair_source", metric = "euclidean" }
outputs.target = { space = "pair_target", metric = "euclidean" }
pair = { offset = 1.5, scale = 1.0, shift = 0.0, prior = 0.5, ece = 0.02 }
                                   # how the two give a probability: see twinset.pair_contract
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from twinset.contract import Metric
from twinset.pair_contract import PAIR_SOURCE, PAIR_TARGET, PairContract
from twinset_exporter.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_METRICS = ", ".join(metric.value for metric in Metric)
_OUTPUT_KEYS = {"space", "metric", "classes"}
_HEAD_KEYS = {"file", "outputs", "categories", "pair", *_OUTPUT_KEYS}
_PAIR_KEYS = [one.name for one in fields(PairContract)]
_SIDES = {PAIR_SOURCE, PAIR_TARGET}


@dataclass(frozen=True, slots=True)
class Use:
    """What becomes of an output: it fills `space`, whose vectors compare by `metric`, or none where that is None."""

    space: str | None = None
    metric: Metric | None = None
    classes: tuple[str, ...] = ()


PLAIN = Use()


@dataclass(frozen=True, slots=True)
class Head:
    """A head as it is asked for.

    Attributes:
        name: what it is called.
        file: its `.keras` file.
        only: the use of its output, where it has one.
        outputs: the uses of its outputs by their names in Keras, where it has several; those left out are plain.
        categories: the names of what its second input counts from 1 on; empty where it takes the features alone.
        pair: how its outputs in the spaces of a pair give a probability; None where they don't.
    """

    name: str
    file: Path
    only: Use = PLAIN
    outputs: Mapping[str, Use] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    pair: PairContract | None = None

    def uses(self, outputs: Sequence[str]) -> dict[str, Use]:
        """Return the use of each output of the network, by the name that it gets in the ensemble, in their order.

        Raises:
            UsageError: the request is for other outputs than the network has.
        """
        if len(outputs) == 1 and not self.outputs:
            return {self.name: self.only}
        if self.only != PLAIN:
            raise UsageError(
                f"head {self.name}: {self.file} has the outputs {', '.join(outputs)}, so that one space or list of "
                "classes for it says nothing: give each its own, in a file for --heads, below "
                f"[heads.{self.name}.outputs]"
            )
        if unknown := [name for name in self.outputs if name not in outputs]:
            raise UsageError(f"head {self.name}: {self.file} has no output {unknown[0]!r}; it has {', '.join(outputs)}")
        for name in outputs:
            _check_name(f"output of {self.file}", name)
        return {name: self.outputs.get(name, PLAIN) for name in outputs}


@dataclass(frozen=True, slots=True)
class Specification:
    """The heads of an ensemble; `name` is the ensemble's, None to call it after its backbone."""

    heads: tuple[Head, ...]
    name: str | None = None


def of_options(heads: Sequence[str], file: Path | None) -> Specification | None:
    """Return what the options `--head` and `--heads` ask for, None where they aren't given.

    Raises:
        UsageError: one of them can't be understood.
    """
    if heads and file is not None:
        raise UsageError("--head and --heads exclude each other: put all heads into the file")
    if file is not None:
        return read(file)
    if not heads:
        return None
    return _checked(tuple(_of_option(text) for text in heads), None)


def read(path: Path) -> Specification:
    """Return what the TOML file at `path` asks for.

    Raises:
        UsageError: it can't be read, or says what makes no sense.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; check the path given to --heads") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    try:
        _check_keys("the file", content, {"name", "heads"})
        tables = content.get("heads")
        if not isinstance(tables, dict) or not tables:
            raise UsageError("it has no heads: describe each in a table [heads.NAME]")
        if (name := content.get("name")) is not None:
            _check_name("name", name)
        return _checked(tuple(_of_table(name, table, path.parent) for name, table in tables.items()), name)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _of_option(text: str) -> Head:
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        raise UsageError(f"--head {text}: write NAME=FILE.keras, or NAME=FILE.keras:METRIC where it fills a space")
    _check_name("--head", name)
    file, colon, metric = rest.rpartition(":")
    if not colon:
        return Head(name, Path(rest))
    return Head(name, Path(file), Use(name, _metric(f"--head {text}", metric)))


def _of_table(name: str, table: Any, folder: Path) -> Head:
    where = f"heads.{name}"
    _check_name("head", name)
    if not isinstance(table, dict) or not isinstance(table.get("file"), str):
        raise UsageError(f"{where}.file is missing: name the head's .keras file")
    _check_keys(where, table, _HEAD_KEYS)
    outputs = table.get("outputs", {})
    if not isinstance(outputs, dict):
        raise UsageError(f"{where}.outputs must be a table, with an entry for each output")
    only = _use(where, name, table, folder)
    if outputs and only != PLAIN:
        raise UsageError(f"{where} has outputs: say what each is for in there, and not of the head")
    uses = {}
    for output, use in outputs.items():
        if not isinstance(use, dict):
            raise UsageError(f"{where}.outputs.{output} must be a table with {', '.join(sorted(_OUTPUT_KEYS))}")
        _check_keys(f"{where}.outputs.{output}", use, _OUTPUT_KEYS)
        uses[output] = _use(f"{where}.outputs.{output}", output, use, folder)
    categories = _names(f"{where}.categories", table["categories"], folder) if "categories" in table else ()
    pair = _pair(f"{where}.pair", table["pair"], uses) if "pair" in table else None
    return Head(name, folder / table["file"], only, uses, categories, pair)


def _use(where: str, name: str, table: Mapping[str, Any], folder: Path) -> Use:
    classes = _names(f"{where}.classes", table["classes"], folder) if "classes" in table else ()
    if "metric" not in table:
        if "space" in table:
            raise UsageError(f"{where}.metric is missing: how do vectors of its space compare? One of {_METRICS}")
        return Use(classes=classes)
    space = table.get("space", name)
    _check_name(f"{where}.space", space)
    return Use(space, _metric(f"{where}.metric", table["metric"]), classes)


def _names(where: str, given: Any, folder: Path) -> tuple[str, ...]:
    """Return a list of names: `given` as it is, or what stands in the file of that name below `folder`, one a line."""
    if isinstance(given, str):
        try:
            given = (folder / given).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: {folder / given}: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(given, list) or not given or not all(isinstance(name, str) and name.strip() for name in given):
        raise UsageError(f"{where} must be a list of names, or a file with one a line, and none of them empty")
    if twice := [name for name in given if given.count(name) > 1]:
        raise UsageError(f"{where} names {twice[0]!r} twice")
    return tuple(given)


def _pair(where: str, table: Any, uses: Mapping[str, Use]) -> PairContract:
    if not isinstance(table, dict):
        raise UsageError(f"{where} must be a table with {', '.join(_PAIR_KEYS)}")
    _check_keys(where, table, _PAIR_KEYS)
    if missing := [key for key in _PAIR_KEYS if key not in table]:
        raise UsageError(f"{where}.{missing[0]} is missing: say all of {', '.join(_PAIR_KEYS)}")
    if missing := sorted(_SIDES - {use.space for use in uses.values()}):
        raise UsageError(f"{where}: no output fills the space {missing[0]}: a pair has two sides")
    try:
        return PairContract(**table)
    except ValueError as error:
        raise UsageError(f"{where}.{error}") from error


def _checked(heads: tuple[Head, ...], name: str | None) -> Specification:
    names = [head.name for head in heads]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two heads are called {twice[0]}: give each a name of its own")
    return Specification(heads, name)


def _metric(where: str, text: Any) -> Metric:
    try:
        return Metric(text)
    except ValueError as error:
        raise UsageError(f"{where}: {text!r} is no metric: choose one of {_METRICS}") from error


def _check_name(where: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{where}: {name!r} is no name: use a to z, 0 to 9 and _, 64 at most")


def _check_keys(where: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise UsageError(f"{where} has no {unknown[0]!r}: it has {', '.join(sorted(known))}")
