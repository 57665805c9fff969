import os
from pathlib import Path

import numpy as np
import pytest

from twinset_exporter.datasets import movielens
from twinset_exporter.datasets.errors import DataError

FILMS = "1|Ein Film (1995)|01-Jan-1995||http://x|0|1\n2|L\xe9on (1994)|01-Jan-1994||http://y|1|1\n"


def folder_of(path: Path, base: str, test: str) -> Path:
    (path / "u.item").write_text(FILMS, encoding="latin-1")
    (path / "ua.base").write_text(base)
    (path / "ua.test").write_text(test)
    return path


def test_both_parts_of_the_published_split_number_users_and_films_alike(tmp_path: Path) -> None:
    found = movielens.read_published(folder_of(tmp_path, "7\t2\t5\t10\n8\t1\t3\t11\n", "8\t2\t1\t12\n"))

    assert found.movies.titles == ("Ein Film (1995)", "L\xe9on (1994)")
    assert found.movies.genres.tolist() == [[False, True], [True, True]]
    assert found.train.user_ids == found.test.user_ids == ("7", "8")
    assert found.train.item_ids == found.test.item_ids == ("1", "2")
    assert (found.test.users.tolist(), found.test.items.tolist(), found.test.values.tolist()) == ([1], [1], [1.0])


@pytest.mark.parametrize("line", ["7\t2\t6\t10", "7\t2\t0\t10", "7\t3\t5\t10", "7,2,5,10", "7\t2\t5"])
def test_a_broken_rating_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    folder = folder_of(tmp_path, f"7\t2\t5\t10\n{line}\n", "")

    with pytest.raises(DataError, match=r"ua\.base, line 2: expected"):
        movielens.read_published(folder)


@pytest.mark.parametrize("line", ["1|Again|||x|0|1", "x|No number|||x|0|1", "3|Flag|||x|0|2", "3|Short"])
def test_a_broken_film_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "u.item").write_text(FILMS + line, encoding="latin-1")

    with pytest.raises(DataError, match=r"u\.item, line 3: expected"):
        movielens.read_movies(tmp_path / "u.item")


@pytest.mark.data
@pytest.mark.skipif("TWINSET_DATA" not in os.environ, reason="needs the data folder that TWINSET_DATA names")
def test_the_real_files_hold_what_their_readme_says() -> None:
    found = movielens.read_published(Path(os.environ["TWINSET_DATA"]) / "ml-100k")

    assert (len(found.train), len(found.test), len(found.movies.ids)) == (90_570, 9_430, 1_682)
    assert np.bincount(found.test.users).tolist() == [10] * 943
    assert (int((found.train.values >= 4).sum()), int((found.test.values >= 4).sum())) == (49_906, 5_469)
