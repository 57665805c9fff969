from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fakes.command_line import picture
from fakes.server import FakeServer
from twinset import Client, Item, Picture
from twinset.cli.sheet import SheetItem, SheetRow, render


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def page(*neighbours: SheetItem, query: SheetItem | None = None) -> str:
    return render([SheetRow(query or SheetItem("q"), neighbours)], "Look-alikes")


def test_whatever_a_catalogue_holds_is_text_on_the_page() -> None:
    hostile = '"><script>alert(1)</script>'
    item = SheetItem(hostile, picture(1, 2, 3), hostile, hostile, f"https://x/{hostile}", 0.5)
    html = render([SheetRow(item, [item])], hostile, hostile, {hostile: hostile})
    assert _Tags(html).all("script") == []
    assert "<script>alert" not in html
    assert _Tags(html).all("a")[0]["href"] == f"https://x/{hostile}"


@pytest.mark.parametrize("uri", ["https://example.org/a?b=1", "http://example.org", "shoes/a-1.jpg", "a.png"])
def test_web_addresses_and_relative_paths_to_files_become_links(uri: str) -> None:
    assert [a.get("href") for a in _Tags(page(SheetItem("a", uri=uri))).all("a")] == [uri]


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "javascript:alert(1)",
            " javascript:alert(1).js",
            "java\tscript:a.js",
            "data:text/html,x",
            "/local",
            "//host/a.js",
        ),
        *("https://", "http://[", "word", "two words.txt", "\\\\host\\a.js", ""),
    ],
)
def test_nothing_else_becomes_a_link(uri: str) -> None:
    assert _Tags(page(SheetItem("a", uri=uri))).all("a") == []


def test_the_page_needs_nothing_from_elsewhere() -> None:
    tags = _Tags(page(SheetItem("a", picture(1, 2, 3)), SheetItem("b", picture(3, 2, 1))))
    assert all((image["src"] or "").startswith("data:image/") for image in tags.all("img"))
    assert tags.all("link") == []
    assert {meta.get("http-equiv") for meta in tags.all("meta")} >= {"Content-Security-Policy"}


def test_neighbours_of_the_query_s_category_are_marked() -> None:
    shoe, hat = SheetItem("a", category="shoes"), SheetItem("b", category="hats")
    assert page(shoe, hat, query=SheetItem("q", category="shoes")).count("<li class=same>") == 1
    assert page(SheetItem("a"), query=SheetItem("q")).count("<li class=same>") == 0


def test_a_small_picture_is_kept_as_it_is_and_a_large_one_shrunk() -> None:
    small = picture(1, 2, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (400, 800, 3), dtype=np.uint8)).save(buffer, "PNG")
    images = _Tags(page(SheetItem("a", small), SheetItem("b", buffer.getvalue()))).all("img")
    assert base64.b64decode((images[0]["src"] or "").partition(",")[2]) == small
    assert images[0]["class"] == "tiny"
    assert (images[1]["width"], images[1]["height"]) == ("320", "160")
    assert len(images[1]["src"] or "") < 100_000


def test_a_picture_that_can_not_be_decoded_leaves_an_empty_frame() -> None:
    html = page(SheetItem("a", b"no picture"), SheetItem("b"))
    assert html.count("no picture</div>") == 3  # the query has none either


def test_a_query_without_neighbours_says_so() -> None:
    assert "Nothing was found." in page()


def test_a_row_of_an_answer_brings_pictures_and_facts_along() -> None:
    red, blue = picture(250, 0, 0), picture(0, 0, 250)
    with FakeServer() as server, Client(server.address) as client:
        items = [
            Item("a", (Picture(red),), category="x"),
            Item("b", (Picture(blue),), "B", "https://x/b", "y"),
            Item("c"),
        ]
        assert all(result.error is None for result in client.put_items(items))
        answer = client.recommend(item="a")
        row = SheetRow.from_answer(client, "a", answer)
        server.stores_pictures = False
        bare = SheetRow.from_answer(client, SheetItem("mine.png", red), answer)
    assert row.query == SheetItem("a", red, category="x")
    assert row.neighbours == [SheetItem("b", blue, "B", "y", "https://x/b", answer[0].score)]
    assert (bare.query.picture, bare.neighbours[0].picture) == (red, None)
    assert re.search(rf">{answer[0].score:.3f}<", render([row], "x"))
