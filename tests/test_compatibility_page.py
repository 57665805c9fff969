"""What docs/compatibility.md shows is what it says is run: through the real server, over four items."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.embedder import FakeClassifier
from fakes.items import writable
from fakes.pictures import RED, png
from fakes.service import FakeService
from twinset.cli.app import run
from twinset_server.domain import ItemVector

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
PIECES = {"sofa": ((0, 0), (2, 0)), "lamp": ((1, 1), (1, 0)), "lantern": ((1, 2), (1, 0.5)), "rug": ((0, 3), (0, 2))}
_BLOCK = re.compile(r"^```(console|python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def address() -> Iterator[str]:
    items = [
        writable(
            item_id,
            [
                ItemVector("pair_source", "", np.array(source, np.float32)),
                ItemVector("pair_target", "", np.array(target, np.float32)),
            ],
            category={"lantern": "lamp"}.get(item_id, item_id),
            title=item_id.title(),
            attributes={"price": 60 if item_id == "lantern" else 40},
        )
        for item_id, (source, target) in PIECES.items()
    ]
    with FakeService(FakeClassifier()) as service:
        asyncio.run(service.catalog.write(items))
        yield service.address


def lines(text: str) -> list[str]:
    """Return the lines without what a width makes of them."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and "───" not in line]


def test_the_page_shows_what_is_printed(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"address": address, "photo": png(RED)}
    blocks = _BLOCK.findall(PAGE.read_text())
    shown = [body for kind, body in blocks if kind == "text"]
    printed: list[str] = []
    for kind, body in blocks:
        if kind == "python":
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                exec(body, names)
            printed.append(told.getvalue())
        elif kind == "console":
            command, _, output = body.removeprefix("$ ").partition("\n")
            assert run(["--server", address, *shlex.split(command)[1:]]) == 0
            assert lines(capsys.readouterr().out) == lines(output)
    assert [lines(one) for one in printed] == [lines(one) for one in shown]
    assert len(printed) == 4
