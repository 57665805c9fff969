"""The page on retraining: each of its commands is run in turn, and prints what the page shows, but for numbers.

With `TWINSET_WRITE_RETRAINING=1` what is printed is written into the page.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from e2e.conftest import BIN, KINDS, OF_A_KIND, some_samples

PAGE = Path(__file__).parents[2] / "docs" / "retraining.md"
USERS, ACTS = 40, 14

_BLOCK = re.compile(r"^```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_SHOWN = 4
"""Lines shown from the beginning and the end of a long output."""
_VARYING = re.compile(r"[0-9a-f]{8,}|\d[\d,.:]*|[─-╿]+| +")
_PLAIN = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}


class Shop:
    """A folder to run the page's commands in; the server that one of them starts lives until the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        ports = {f"TWINSET_{section}__PORT": "0" for section in ("SERVER", "ADMIN")}
        self._environment: Mapping[str, str] = os.environ | ports | _PLAIN

    def printed(self, command: str) -> list[str]:
        """Return the lines that a command prints."""
        program, *arguments = shlex.split(command)
        words = [str(BIN / program), *arguments]
        if arguments[0] == "serve":
            return [self._served(words)]
        done = subprocess.run(
            words, cwd=self._folder, env=self._environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
        return lines if len(lines) <= 2 * _SHOWN + 1 else [*lines[:_SHOWN], "...", *lines[-_SHOWN:]]

    def _served(self, words: list[str]) -> str:
        log = self._stack.enter_context((self._folder / "log").open("a"))
        server = subprocess.Popen(
            words, cwd=self._folder, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self._stack.callback(_end, server)
        for line in server.stdout or ():
            if found := re.search(r"twinset serves on (\S+)", line):
                self._environment = {**self._environment, "TWINSET_SERVER_ADDRESS": found[1]}
                return line.rstrip()
        raise RuntimeError((self._folder / "log").read_text()[-3000:])


def _end(server: subprocess.Popen[str]) -> None:
    server.terminate()
    server.wait(timeout=60)
    if server.stdout:
        server.stdout.close()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with ExitStack() as stack:
        wares = some_samples(tmp_path / "wares", KINDS, OF_A_KIND)
        (wares / "labels.csv").rename(wares / "pictures" / "labels.csv")
        (wares / "pictures").rename(tmp_path / "pictures")
        items = [
            f"{kind}/{file.stem}" for kind in KINDS for file in sorted((tmp_path / "pictures" / kind).glob("*.png"))
        ]
        # Each user likes one kind.
        acts = [
            (f"user-{user}", items[(user % len(KINDS)) * OF_A_KIND + (7 * user + 3 * n) % OF_A_KIND], "buy", 5)
            for user in range(USERS)
            for n in range(ACTS)
        ]
        _write(tmp_path / "clicks.csv", [act for place, act in enumerate(acts) if place % ACTS < ACTS - 2])
        _write(tmp_path / "clicks2.csv", [act for place, act in enumerate(acts) if place % ACTS >= ACTS - 2])
        yield Shop(tmp_path, stack)


def _write(path: Path, acts: list[tuple[str, str, str, int]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "kind", "weight"), *acts])


def commands(body: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a block, each with the lines below it."""
    found: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def alike(lines: list[str]) -> list[str]:
    """Return lines without what differs from run to run: numbers, digests, widths of columns."""
    return [_VARYING.sub(" ", line).strip() for line in lines]


@pytest.mark.slow
def test_every_command_of_the_page_prints_what_stands_below_it(shop: Shop) -> None:
    text = PAGE.read_text()
    blocks: list[str] = []
    for block in _BLOCK.finditer(text):
        told = []
        for command, shown in commands(block["body"]):
            printed = shop.printed(command)
            told.append("\n".join([f"$ {command}", *printed]))
            if "TWINSET_WRITE_RETRAINING" not in os.environ:
                assert alike(printed) == alike(shown), f"$ {command}\n" + "\n".join(printed)
        blocks.append("```console\n" + "\n".join(told) + "\n```")
    assert len(blocks) > 5
    if "TWINSET_WRITE_RETRAINING" in os.environ:
        anew = iter(blocks)
        PAGE.write_text(_BLOCK.sub(lambda _: next(anew), text))
