"""Which models of a repository may go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from twinset_exporter.catalogues import UsedSpace
from twinset_exporter.errors import ExportError, UsageError
from twinset_exporter.repository import BrokenModel, Published, PublishedInteraction, PublishedModel


@dataclass(frozen=True, slots=True)
class Verdict:
    """A model, and why it stays; `reason` is None where nobody uses it."""

    model: Published
    reason: str | None


def judge(
    models: Sequence[Published | BrokenModel],
    *,
    named: Collection[str],
    kept: Collection[str],
    spaces: Sequence[UsedSpace],
) -> list[Verdict]:
    """Return a verdict for each model: all of them, or those `named`. Ensembles come first, and go before their parts.

    Args:
        models: what is in the repository; what is no model of twinset gets no verdict.
        named: the models to remove; empty for every unused one.
        kept: the models to keep.
        spaces: those of the catalogues.

    Raises:
        UsageError: `named` or `kept` name a model that isn't there.
        ExportError: a model among `named` is in use.
    """
    published = {model.path.name: model for model in models if not isinstance(model, BrokenModel)}
    for option, names in (("MODEL", named), ("--keep", kept)):
        if unknown := sorted(set(names) - published.keys()):
            raise UsageError(f"{option} {unknown[0]}: no such model; there are {', '.join(published) or 'none'}")
    reasons = {name: _reason(model, named, kept, spaces, published) for name, model in published.items()}
    users = {
        component: name
        for name, model in published.items()
        for component in _components(model)
        if reasons[name] or (named and name not in named)
    }
    verdicts = [
        Verdict(model, reasons[name] or (f"in use: a part of {users[name]}" if name in users else None))
        for name, model in published.items()
        if not named or name in named
    ]
    if named and (refused := [verdict for verdict in verdicts if verdict.reason]):
        told = "; ".join(f"{verdict.model.path.name} is {verdict.reason}" for verdict in refused)
        raise ExportError(f"refused, nothing was removed: {told}")
    return sorted(verdicts, key=lambda verdict: not _components(verdict.model))


def _components(model: Published) -> tuple[str, ...]:
    return model.contract.components if isinstance(model, PublishedModel) else ()


def _reason(
    model: Published,
    named: Collection[str],
    kept: Collection[str],
    spaces: Sequence[UsedSpace],
    published: Collection[str],
) -> str | None:
    for space in spaces:
        if isinstance(model, PublishedModel) and _serves(model, space, published):
            return f"in use: {space}"
    if model.path.name in kept:
        return "kept: --keep"
    if isinstance(model, PublishedInteraction) and model.path.name not in named:
        return "kept: no catalogue tells who ranks by it; name it to remove it"
    return None


def _serves(model: PublishedModel, space: UsedSpace, published: Collection[str]) -> bool:
    """Return whether `model` fills `space`, or computes the same and can stand in for a lost one.

    Every ensemble on one backbone fills `visual` alike: of those only the one that is named counts, unless it is gone.
    """
    contract = model.contract
    if model.path.name == space.model or contract.fingerprint == space.fingerprint:
        return True
    filled = contract.space(space.name)
    lost = space.model is not None and space.model not in published
    return lost and filled is not None and contract.fingerprint_of(filled.output) == space.fingerprint
