"""Reads `.keras` files that others made, without running code of theirs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinset_exporter.errors import ExportError

if TYPE_CHECKING:
    import keras

SUFFIX = ".keras"


def load(path: Path) -> keras.Model:
    """Return the model in the file at `path`.

    Raises:
        ExportError: it is no such file, carries code, or is made of layers that Keras doesn't know.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path} is no {SUFFIX} file, or a damaged one ({error}): save the model again") from error
    lambdas = sorted(name for kind, name in _classes(config) if kind == "Lambda")
    if lambdas:
        raise ExportError(
            f"{path} is refused: layer {lambdas[0]!r} is a Lambda, which carries Python code that loading would run; "
            "build the model from Keras's own layers (a preprocessing Lambda: leave it out, use --preprocessing)"
        )
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # what a file may hold is without limit, and so is what Keras raises at it
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{path}: Keras can't load it safely ({reason}); it must be made of Keras's own layers"
        ) from error


def _classes(config: Any) -> Iterator[tuple[str, str]]:
    """Yield class and name of everything that a model's config describes."""
    if isinstance(config, dict):
        if isinstance(kind := config.get("class_name"), str):
            inner = config.get("config")
            yield kind, str(inner.get("name", kind)) if isinstance(inner, dict) else kind
        for entry in config.values():
            yield from _classes(entry)
    elif isinstance(config, list):
        for entry in config:
            yield from _classes(entry)
