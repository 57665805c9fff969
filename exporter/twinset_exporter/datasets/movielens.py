"""MovieLens 100K (Harper and Konstan 2015), in the files of its archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset_exporter.datasets.errors import DataError, shown
from twinset_exporter.datasets.interactions import Columns, Interactions, read_csv
from twinset_exporter.datasets.lines import read_rows

_RATING = Columns(user=0, item=1, value=2, time=3)
# u.item: movie id, title, release date, video release date, IMDb URL, then one flag a genre in the order of u.genre.
_GENRES_FROM = 5


@dataclass(frozen=True, slots=True)
class Movies:
    """The films of `u.item`.

    Attributes:
        ids: `"1"` to `"1682"`, in this order.
        titles: with the year.
        genres: `[N, G]` bool.
    """

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    genres: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Published:
    """The split `ua`: ten ratings of each user are in `test`. Both number users and items alike."""

    train: Interactions
    test: Interactions
    movies: Movies


def read_ratings(
    path: Path, *, user_ids: Sequence[str] | None = None, item_ids: Sequence[str] | None = None
) -> Interactions:
    """Return the ratings, 1 to 5, of `u.data`, `ua.base` or another file of its format.

    Args:
        path: of the file: user, item, rating and time, between tabs, no row of names.
        user_ids: all users there may be, in the order of their numbers; None numbers them as they come.
        item_ids: the same of items, such as `Movies.ids`.

    Raises:
        DataError: a line is broken, or of a user or item that isn't known.
    """
    return read_csv(path, _RATING, delimiter="\t", user_ids=user_ids, item_ids=item_ids, least=1, most=5)


def read_movies(path: Path) -> Movies:
    """Return the films of `u.item`.

    Raises:
        DataError: a line is broken.
    """
    films: dict[str, tuple[str, list[bool]]] = {}
    for number, fields in read_rows(path, delimiter="|", encoding="latin-1"):
        flags = fields[_GENRES_FROM:]
        if not flags or not set(flags) <= {"0", "1"}:
            expected = "id, title, two dates, a link, and then 0 or 1 for each genre, between '|'"
            raise DataError(path, expected, found=shown("|".join(fields)), line=number)
        if not fields[0].isdecimal() or fields[0] in films:
            raise DataError(path, "a number that no film before it has", found=shown(fields[0]), line=number)
        films[fields[0]] = fields[1], [flag == "1" for flag in flags]
    if not films:
        raise DataError(path, "at least one film", found="an empty file")
    titles, genres = zip(*films.values(), strict=True)
    return Movies(tuple(films), titles, np.array(genres, bool))


def read_published(folder: Path) -> Published:
    """Return `ua.base`, `ua.test` and `u.item` of a folder.

    Raises:
        DataError: a file is missing or broken, or of a user or film that the other files don't know.
    """
    movies = read_movies(folder / "u.item")
    train = read_ratings(folder / "ua.base", item_ids=movies.ids)
    test = read_ratings(folder / "ua.test", item_ids=movies.ids, user_ids=train.user_ids)
    return Published(train, test, movies)
