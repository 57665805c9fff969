"""Feedback with a planted taste: users of a group like its items."""

from __future__ import annotations

import numpy as np

from twinset_exporter.training.taste.feedback import Feedback
from twinset_exporter.training.taste.validation import HeldOut

GROUPS, USERS, ITEMS = 4, 80, 60


def held_out(seed: int = 0, *, low_from: int = ITEMS) -> HeldOut:
    """Return 15 acts of each user on items of the group, 3 of them held out.

    Those on items from `low_from` on are no likes.
    """
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(USERS), 15)
    of_group = np.arange(ITEMS) % GROUPS
    items = np.concatenate([rng.permutation(np.flatnonzero(of_group == user % GROUPS))[:15] for user in range(USERS)])
    test = np.tile(np.arange(15) < 3, USERS)
    liked = items < low_from
    train, judged = (Feedback.of_acts(users[part], items[part], liked[part], USERS, ITEMS) for part in (~test, test))
    return HeldOut(train, judged)
