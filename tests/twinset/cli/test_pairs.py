"""`twinset score` and `twinset complete`, against the real server on fakes of its seams."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.command_line import Outcome, picture
from fakes.embedder import FakeClassifier
from fakes.items import writable
from fakes.service import FakeService
from twinset.cli.app import run
from twinset_server.domain import ItemVector

PIECES = {"sofa": ((0, 0), (2, 0)), "lamp": ((1, 1), (1, 0)), "lantern": ((1, 1), (1, 1)), "rug": ((0, 3), (0, 2))}
CATEGORIES = {"lantern": "lamp"}

Run = Callable[..., Outcome]


@pytest.fixture
def twinset(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    items = [
        writable(
            item_id,
            [
                ItemVector("pair_source", "", np.array(source, np.float32)),
                ItemVector("pair_target", "", np.array(target, np.float32)),
            ],
            category=CATEGORIES.get(item_id, item_id),
            title=item_id.title(),
        )
        for item_id, (source, target) in PIECES.items()
    ]
    with FakeService(FakeClassifier()) as service:
        asyncio.run(service.catalog.write(items))
        yield lambda *given: Outcome(run(["--server", service.address, *map(str, given)]), *capsys.readouterr())


def probability(left: str, right: str) -> float:
    squared = sum((a - b) ** 2 for a, b in zip(PIECES[left][0], PIECES[right][1], strict=True))
    return 1 / (1 + math.exp(-(0.5 * (1.5 - squared) - 0.25)))


def test_a_pair_is_told_in_both_directions(twinset: Run) -> None:
    outcome = twinset("score", "sofa", "lamp", "--both")
    assert outcome.code == 0
    told = [line.split() for line in outcome.out.splitlines() if "sofa" in line]
    assert told == [
        [f"{probability('sofa', 'lamp'):.4f}", "1.0000", "sofa", "lamp"],
        [f"{probability('lamp', 'sofa'):.4f}", "2.0000", "lamp", "sofa"],
    ]


def test_a_pair_is_told_to_programs(twinset: Run) -> None:
    told = json.loads(twinset("score", "sofa", "lamp", "--prior", "0.1", "--json").out)
    assert told["score"]["distance"] == pytest.approx(1)
    assert told["reverse"] is None
    assert (told["scoring"]["metric"], told["scoring"]["offset"], told["scoring"]["prior"]) == ("euclidean", 1.5, 0.1)


def test_a_picture_stands_for_a_side_with_its_category(twinset: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(250, 0, 0))
    known = json.loads(twinset("score", "--left-image", photo, "--left-category", "sofa", "--json", "lamp").out)
    unknown = json.loads(twinset("score", "sofa", "--right-image", photo, "--json").out)
    assert (known["left"], known["right"], known["left_category_unknown"]) == (str(photo), "lamp", False)
    assert (unknown["left"], unknown["right_category_unknown"]) == ("sofa", True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["score", "sofa"], "right is either an item's id or --right-image FILE"),
        (["score", "sofa", "lamp", "--left-category", "x"], "--left-category is for a picture"),
        (["score", "sofa", "--right-image", "missing.png"], "missing.png: can't be read"),
        (["score", "sofa", "lamp", "--json", "--html", "x.html"], "--json or --html"),
        (["score", "sofa", "nobody"], "nobody"),
        (["complete", "sofa"], "--slot CATEGORY"),
        (["complete", "--slot", "lamp"], "--slot CATEGORY"),
        (["complete", "sofa", "--slot", "lamp", "--filter", "category ="], "filter"),
    ],
)
def test_what_is_wrong_is_one_line(twinset: Run, given: list[str], said: str) -> None:
    outcome = twinset(*given)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_set_is_told_with_what_else_could_fill_each_slot(twinset: Run) -> None:
    outcome = twinset("complete", "sofa", "--slot", "lamp", "--slot", "bed")
    assert outcome.code == 0
    told = [line.split() for line in outcome.out.splitlines()]
    score = math.log(probability("sofa", "lamp"))
    other = math.log(probability("sofa", "lantern"))
    assert ["lamp", "chosen", f"{score:.4f}", "lamp", "lamp", "Lamp"] in told
    assert ["or", f"{other:.4f}", "lantern", "lamp", "Lantern"] in told
    assert ["bed", "nothing", "fits"] in told


def test_a_set_is_told_to_programs(twinset: Run) -> None:
    told = json.loads(twinset("complete", "sofa", "--slot", "lamp", "--slot", "rug", "--exclude", "lamp", "--json").out)
    assert [slot["chosen"]["item"]["id"] for slot in told["slots"]] == ["lantern", "rug"]
    pairs = [("sofa", "lantern"), ("sofa", "rug"), ("lantern", "rug")]
    assert told["score"] == pytest.approx(sum(math.log(probability(*pair)) for pair in pairs))
    assert (told["pair_count"], told["exact"]) == (3, True)


def test_pages_show_what_goes_together(twinset: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(250, 0, 0))
    page = tmp_path / "page.html"
    assert twinset("score", "sofa", "lamp", "--both", "--html", page).code == 0
    html = page.read_text()
    assert html.count('<section class="row">') == 2
    assert f"{probability('sofa', 'lamp'):.3f}" in html
    assert twinset("complete", "sofa", "--image", photo, "--slot", "lamp", "--html", page).code == 0
    html = page.read_text()
    assert "photo.png" in html
    assert "Lantern" in html
    assert "sum of log P" in html


def test_a_picture_that_the_server_can_not_take_is_named(twinset: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture(250, 0, 0)[:60])
    for given in (["score", "sofa", "--right-image", broken], ["complete", "--image", broken, "--slot", "lamp"]):
        outcome = twinset(*given)
        assert outcome.code == 2
        assert "broken.png" in outcome.err
        assert "given[" not in outcome.err
