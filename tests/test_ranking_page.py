"""What docs/ranking.md shows is what it says is run: a client against fakes, and the weekly circle on the real thing.

With `TWINSET_WRITE_RANKING=1` what is printed is written into the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes.factors import each, factors
from fakes.interactions import interaction_contract
from fakes.items import put, writable
from fakes.models import write_tiny_model
from fakes.service import FakeService
from test_documentation import Command, Reader, Shell, commands
from twinset_server.domain import FactorItems, FactorUsers

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ranking.md"
KINDS = ("bag", "sandal", "sneaker", "dress")
USERS, ACTS, OF_A_KIND = 80, 12, 24
LOADED_S = 60.0

_PYTHON = re.compile(r"^```python\n(?P<code>.*?)^```\n\n```text\n(?P<printed>.*?)^```$", re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


def write(pattern: re.Pattern[str], group: str, text: str) -> None:
    """Write what was printed into the page, where that is asked for."""
    if os.environ.get("TWINSET_WRITE_RANKING"):
        page = PAGE.read_text()
        (block,) = pattern.finditer(page)
        PAGE.write_text(page[: block.start(group)] + text + page[block.end(group) :])


@pytest.fixture
def address() -> Iterator[str]:
    ids = ["shoe/4", "shoe/9", "shoe/17", "hat/3", "hat/7", "bag/1"]
    header, items, users = factors(seed=3)
    named = FactorItems(ids, items.factors, items.liked, items.known)
    with FakeService() as service:
        asyncio.run(put(service.catalog, [writable(one, attributes={"in_stock": one != "hat/7"}) for one in ids]))
        asyncio.run(
            service.catalog.import_factors(header, each(named, FactorUsers(["ann", "b", "c", "d"], users.factors)))
        )
        service.interactions.serve([interaction_contract(header.fingerprint)])
        yield service.address


def test_the_client_prints_what_the_page_shows(address: str) -> None:
    (block,) = _PYTHON.finditer(PAGE.read_text())
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as told:
        exec(compile(block["code"].replace("localhost:50051", address), str(PAGE), "exec"), names)
    names["client"].close()  # type: ignore[attr-defined]
    write(_PYTHON, "printed", told.getvalue())
    assert told.getvalue() == block["printed"]


@pytest.mark.slow
def test_the_weekly_circle_prints_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples", target_is_directory=True)
    write_tiny_model(tmp_path / "model_repository")
    (tmp_path / "shop.csv").write_text(shop())
    (block,) = _CONSOLE.finditer(PAGE.read_text())
    ran: list[tuple[Command, list[str]]] = []
    with contextlib.closing(Shell(tmp_path, quiet=True)) as shell:
        for command in commands(block["body"]):
            printed = shell.run(command.line)
            ends = time.monotonic() + LOADED_S
            # A model that was just published is there a moment later.
            while "--rerank" in command.line and printed[0].startswith("twinset") and time.monotonic() < ends:
                time.sleep(0.2)
                printed = shell.run(command.line)
            ran.append((command, printed))
    write(_CONSOLE, "body", "".join(f"$ {one.line}\n" + "".join(f"{line}\n" for line in out) for one, out in ran))
    reader = Reader()
    for command, printed in ran:
        reader.compare(command, printed)
    assert len(ran) > 10


def shop() -> str:
    """Return interactions of users who each like pictures of one kind, as a table."""
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,kind,weight"]
    for user in range(USERS):
        kind = KINDS[user % len(KINDS)]
        names = sorted(path.stem for path in (ROOT / "samples" / "fashion-mnist" / kind).glob("*.png"))[:OF_A_KIND]
        for place in rng.permutation(OF_A_KIND)[:ACTS].tolist():
            lines.append(f"u{user},{kind}/{names[place]},rate,{5 if place % 5 else 2}")
    return "\n".join([*lines, ""])
