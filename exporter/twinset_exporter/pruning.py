"""Which models of a repository may go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from twinset_exporter.catalogues import UsedSpace
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.repository import BrokenModel, PublishedModel


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model, and why it stays; `reason` is None where nobody uses it."""

    model: PublishedModel
    reason: str | None


def judge(
    models: Sequence[PublishedModel | BrokenModel],
    *,
    named: Collection[str],
    kept: Collection[str],
    spaces: Sequence[UsedSpace],
) -> list[Verdict]:
    """Return a verdict for each model: all of them, or those `named`.

    Args:
        models: what is in the repository; what is no model of twinset gets no verdict.
        named: the models to remove; empty for every unused one.
        kept: the models to keep.
        spaces: those of the catalogues.

    Raises:
        UsageError: `named` or `kept` name a model that isn't there.
        ExportError: a model among `named` is in use.
    """
    published = {model.path.name: model for model in models if isinstance(model, PublishedModel)}
    for option, names in (("MODEL", named), ("--keep", kept)):
        if unknown := sorted(set(names) - published.keys()):
            raise UsageError(f"{option} {unknown[0]}: no such model; there are {', '.join(published) or 'none'}")
    verdicts = [
        Verdict(model, _reason(model, kept, spaces)) for name, model in published.items() if not named or name in named
    ]
    if named and (refused := [verdict for verdict in verdicts if verdict.reason]):
        reasons = "; ".join(f"{verdict.model.path.name} is {verdict.reason}" for verdict in refused)
        raise ExportError(f"refused, nothing was removed: {reasons}")
    return verdicts


def _reason(model: PublishedModel, kept: Collection[str], spaces: Sequence[UsedSpace]) -> str | None:
    for space in spaces:
        # By fingerprint too: a model that computes the same under another name can stand in for a lost one.
        if model.path.name == space.model or model.contract.fingerprint == space.fingerprint:
            return f"in use: {space}"
    return "kept: --keep" if model.path.name in kept else None
