"""One training of taste, from interactions to a folder with factors, models and a report."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from twinset.factors import Manifest, predicted_space
from twinset_exporter.datasets import splits
from twinset_exporter.datasets.interactions import Interactions
from twinset_exporter.errors import UsageError
from twinset_exporter.measures.ranking import Ranking
from twinset_exporter.training import features, progress
from twinset_exporter.training.figure import Figure
from twinset_exporter.training.loop import History
from twinset_exporter.training.run_folder import HEADS, RunFolder
from twinset_exporter.training.taste import factor_files, report, two_tower, validation
from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.names import FACTORS, HEAD, INTERACTION
from twinset_exporter.training.taste.pictures import Preparation
from twinset_exporter.training.taste.two_tower import Towers
from twinset_exporter.training.taste.validation import WATCHED_USERS, HeldOut

if TYPE_CHECKING:
    from twinset_exporter.training.taste.interaction import Interaction

HELD_OUT = 5
"""Acts of each user that validate; users with no more keep theirs."""

_HEADS_TOML = """name = "taste"

[heads.taste]
file = "{head}"
space = "{space}"
metric = "inner_product"
"""

_WHOLE = "whole"
_SPLIT = "held out of each user"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What to train.

    Attributes:
        interactions: each user and item at most once.
        source: their file's name.
        liked_from: the least value of a like, None where every act is one.
        settings: of the towers.
        patience: epochs without a better one.
        features: folder with the features of the items' pictures, None to do without.
    """

    interactions: Interactions
    source: str
    liked_from: float | None
    settings: two_tower.Settings
    patience: int
    features: Path | None


def run(request: Request, output: Path) -> str:
    """Train, write everything into the folder `output`, and return a few lines that say what came out.

    Raises:
        UsageError: the interactions leave nothing to validate on, an item has no features, or the folder is another's.
    """
    folder = RunFolder(output)
    try:
        return _run(request, folder)
    finally:
        folder.close()


def _run(request: Request, folder: RunFolder) -> str:
    found, settings = request.interactions, request.settings
    liked_from = -np.inf if request.liked_from is None else request.liked_from
    split = splits.held_out_ratings(found, HELD_OUT, seed=settings.seed)
    everything = Feedback.of(found, liked_from)
    held_out = HeldOut(*(Feedback.of(found.rows(split[part]), liked_from) for part in ("train", "test")))
    if not len(held_out.judged()):
        raise UsageError(
            f"{request.source}: no user has more than {HELD_OUT} acts, a like among those held out, and an item never "
            "met: lower --liked-from, or bring more interactions"
        )
    looks = None if request.features is None else features.read(request.features)
    rows = None if looks is None else looks.rows[looks.places(found.item_ids)]
    folder.begin(
        "taste",
        {
            "source": request.source,
            "liked_from": request.liked_from,
            "settings": asdict(settings),
            "split": split.checksum,
            "values": hashlib.sha256(found.values.tobytes()).hexdigest(),
            "features": None if looks is None else looks.fingerprint,
            "pictures": None if looks is None else looks.pictures,
        },
    )
    preparation = None if rows is None else Preparation.of(rows)
    pictures = None if rows is None or preparation is None else preparation.apply(rows)
    with progress.training("taste, with acts held out", validation.loop_settings(settings, request.patience)) as told:
        towers, history = validation.fit_held_out(held_out, settings, pictures, folder.path, request.patience, told)
    judged = _judge(held_out, towers, settings)
    (folder.path / _WHOLE).mkdir(exist_ok=True)
    with progress.training("taste, on everything", validation.whole_settings(settings, history.best)) as told:
        towers = validation.fit_whole(everything, settings, history.best, pictures, folder.path / _WHOLE, told)
    manifest = _write_factors(folder.path / FACTORS, request, everything, towers)
    network = _train_interaction(everything, towers, settings)
    network.network.save(folder.path / INTERACTION)
    if preparation is not None:
        _write_head(folder, preparation, towers, manifest)
    _report(request, folder, split.checksum, judged, history, towers, manifest)
    figures = "\n".join(f"{figure.id} {figure.value:.4f}" for figure in judged)
    return (
        f"{len(found):,} acts of {manifest.users:,} users on {manifest.items:,} items; best epoch {history.best} of "
        f"{len(history.epochs)}, {history.seconds:.1f} s\n{figures}\nfactors {manifest.fingerprint[:8]}: "
        f"{folder.path / FACTORS}"
    )


def _judge(held_out: HeldOut, towers: Towers, settings: two_tower.Settings) -> list[Figure]:
    """Return the figures on the acts held out, those of the interaction model and of popularity beside them."""
    protocol = (
        f"mean over users; {HELD_OUT} acts of each user held out, seed {settings.seed}; candidates are all items but "
        "the user's likes in training"
    )
    items, users = validation.factors(towers, held_out.train, settings)
    likes = np.bincount(held_out.train.acts(liked=True)[1], minlength=len(items))
    popular = np.concatenate([np.zeros_like(items[:, :-1]), likes[:, np.newaxis]], axis=1).astype(np.float32)
    again = _train_interaction(held_out.train, towers, settings)
    found = [
        *_figures("taste", held_out.rank(items, users), protocol),
        *_figures(
            "taste.known_excluded", held_out.rank(items, users, known=False), f"{protocol}, and but what it knows"
        ),
        Figure("taste.popularity.auc", held_out.rank(popular, users).mean_auc(), "higher", protocol),
    ]
    ranked_again = held_out.rank_by(lambda block: again.scores(users[block]), most=WATCHED_USERS)
    some = f"{protocol}; {WATCHED_USERS} users at most"
    return [
        *found,
        Figure("taste.some_users.auc", held_out.rank(items, users, most=WATCHED_USERS).mean_auc(), "higher", some),
        Figure("taste.interaction.auc", ranked_again.mean_auc(), "higher", some),
    ]


def _figures(name: str, ranking: Ranking, protocol: str) -> Sequence[Figure]:
    values = {"auc": ranking.mean_auc(), "recall10": ranking.mean_recall(), "ndcg10": ranking.mean_ndcg()}
    return [Figure(f"{name}.{key}", value, "higher", protocol) for key, value in values.items()]


def _train_interaction(feedback: Feedback, towers: Towers, settings: two_tower.Settings) -> Interaction:
    # Here, so that towers need no TensorFlow.
    from twinset_exporter import tensorflow_noise

    tensorflow_noise.silence()
    from twinset_exporter.training.taste import interaction

    return interaction.train(
        feedback,
        two_tower.factors_of_items(towers),
        two_tower.fold_in(towers, settings),
        interaction.Settings(seed=settings.seed),
    )


def _write_factors(folder: Path, request: Request, feedback: Feedback, towers: Towers) -> Manifest:
    found, fold_in = request.interactions, two_tower.fold_in(towers, request.settings)
    return factor_files.write(
        folder,
        item_ids=found.item_ids,
        items=two_tower.factors_of_items(towers),
        user_ids=found.user_ids,
        users=two_tower.factors_of_users(fold_in, feedback),
        fold_in=fold_in,
        liked_from=request.liked_from,
    )


def _write_head(folder: RunFolder, preparation: Preparation, towers: Towers, manifest: Manifest) -> None:
    from twinset_exporter.training.taste import pictures

    pictures.head(preparation, towers).save(folder.path / HEAD)
    folder.write_text(HEADS, heads_toml(manifest.fingerprint))


def heads_toml(fingerprint: str) -> str:
    """Return what `export --heads` reads of the head that predicts factors of this fingerprint."""
    return _HEADS_TOML.format(head=HEAD, space=predicted_space(fingerprint))


def _report(
    request: Request,
    folder: RunFolder,
    checksum: str,
    figures: Sequence[Figure],
    history: History,
    towers: Towers,
    manifest: Manifest,
) -> None:
    found, settings = request.interactions, request.settings
    facts = [
        ("interactions", f"{request.source}: {len(found):,}, {manifest.users:,} users, {manifest.items:,} items"),
        ("likes", "every act" if request.liked_from is None else f"values from {request.liked_from:g} on"),
        ("model", f"two towers, {settings.dimension} dimensions, temperature {settings.temperature:g}"),
        ("training", f"best epoch {history.best} of {len(history.epochs)}, then on everything; seed {settings.seed}"),
        ("factors", manifest.fingerprint),
    ]
    likes = np.bincount(found.items, minlength=len(found.item_ids))
    page = report.report(
        facts,
        figures,
        {_SPLIT: checksum},
        history,
        two_tower.factors_of_items(towers),
        found.item_ids,
        likes,
        seed=settings.seed,
    )
    folder.write_report(page)
