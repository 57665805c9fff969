import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import UnidentifiedImageError

from twinset_exporter.training.figure import Figure
from twinset_exporter.training.report import page
from twinset_exporter.training.report.calibration import Bin, Calibration
from twinset_exporter.training.report.confusion import Confusion
from twinset_exporter.training.report.curves import Curves
from twinset_exporter.training.report.map import Map
from twinset_exporter.training.report.neighbours import Answered, Card, Neighbours
from twinset_exporter.training.report.report import Report
from twinset_exporter.training.report.table import Table

HOSTILE = """</script><script>alert("x")</script><img src=x onerror='alert(1)'>&lt;"""


def full(text: str, jpegs: list[bytes]) -> Report:
    """A report with every kind of section, and a user's text wherever one can stand."""
    return Report(
        title=text,
        subtitle=text,
        facts=[(text, text)],
        figures=[Figure(text, 0.875, "higher", text)],
        splits={text: text},
        sections=[
            Curves.of_epochs([{text: 2.0}, {text: 1.0}], [{text: 3.0}, {text: 2.5}], 2, title=text, note=text),
            Map(
                np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]]),
                [text, "b", "c"],
                {text: [text, "boot", "boot"], "price": np.array([1.0, np.nan, 3.0])},
                [jpegs[0], None, jpegs[1]],
                title=text,
                note=text,
            ),
            Neighbours([Answered(Card(jpegs[0], text, detail=text), [Card(None, text, good=False, detail=text)])]),
            Confusion([text, "b"], np.array([[3, 1], [0, 4]])),
            Calibration([Bin(0.2, 0.25, 10), Bin(0.8, 0.7, 30)], error=0.07),
            Table([text, "n"], [[text, 3]], title=text, note=text),
        ],
    )


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(text)
    parser.close()
    return parser.found


def test_text_of_users_never_becomes_an_element_or_a_script(jpegs: list[bytes]) -> None:
    plain, hostile = (elements(page.render(full(text, jpegs))) for text in ("plain", HOSTILE))
    assert [tag for tag, _ in hostile] == [tag for tag, _ in plain]
    assert [set(attributes) for _, attributes in hostile] == [set(attributes) for _, attributes in plain]


def test_page_loads_nothing_from_anywhere(jpegs: list[bytes]) -> None:
    text = page.render(full("plain", jpegs))
    addresses = [
        value
        for _, attributes in elements(text)
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data"}
    ]
    assert addresses
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"@import|url\((?!['\"]?data:)", text)
    assert "default-src 'none'" in text


def test_a_picture_that_is_shown_twice_lies_in_the_page_once(jpegs: list[bytes]) -> None:
    def size(*shown: bytes) -> int:
        cards = [Card(jpeg, "shoe") for jpeg in shown]
        return len(page.render(Report("r", sections=[Neighbours([Answered(cards[0], cards[1:])])])))

    once, twice, other = size(jpegs[0]), size(jpegs[0], jpegs[0]), size(jpegs[0], jpegs[1])
    assert twice - once < len(jpegs[0]) < other - once


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    broken = Neighbours([Answered(Card(b"no picture", "shoe"), [])])
    with pytest.raises(UnidentifiedImageError):
        page.write(path, Report("r", sections=[broken]))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_items_of_which_none_has_a_picture_have_no_frames(jpegs: list[bytes]) -> None:
    bare, framed = ([Answered(Card(jpeg, "shoe"), [Card(None, "boot", good=True)])] for jpeg in (None, jpegs[0]))
    assert "no picture" not in page.render(Report("r", sections=[Neighbours(bare)]))
    assert "no picture" in page.render(Report("r", sections=[Neighbours(framed)]))


def test_numbers_are_set_right_in_a_column_with_gaps_too() -> None:
    text = page.render(Report("r", sections=[Table(["head", "auc", "note"], [["a", 0.5, ""], ["b", "", "kept"]])]))
    assert '<th scope="col" class="number">auc</th><th scope="col">note</th>' in text
