"""The pages whose commands are run: each `console` block of them, in order, in an empty folder.

What a command prints must be what the page shows. Numbers may differ, and so may the digits of hashes and the
widths of columns; a hash that the page shows twice must be the same one twice. Models are listed by name, and so by
their hashes: lines may come in another order. A line of `...` stands for any further lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.models import write_tiny_model

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TIMEOUT_S = 300

_BLOCK = re.compile(
    r"^```(?P<kind>console|python|toml)(?: (?P<file>\S+))?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
_HASH = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,64}\b")
_NUMBER = r"\d[\d.,:]*(?:e[+-]?\d+)?"
_VARYING = re.compile(rf"(?P<hash>{_HASH.pattern})|(?P<number>{_NUMBER})|(?P<space>\s+)|(?P<rule>[─-]{{3,}})")


@dataclass(frozen=True)
class Command:
    """A command of a page, and what the page says that it prints."""

    line: str
    output: list[str]


def commands(body: str) -> Iterator[Command]:
    """Yield the commands of a `console` block."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, [text.rstrip() for text in output.splitlines() if text.strip()])


class Shell:
    """Runs commands in a folder; one that ends with `&` goes on until `kill %1`.

    Where `quiet`, lines on standard error but for those of failures are left out: how much progress a command shows
    depends on how long it takes.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        self._folder = folder
        self._quiet = quiet
        self._background: subprocess.Popen[str] | None = None
        port = _free_port()
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "TWINSET_SERVER__PORT": str(port),
            "TWINSET_SERVER_ADDRESS": f"127.0.0.1:{port}",
            "COLUMNS": "120",
        }

    def run(self, line: str) -> list[str]:
        """Return the lines that the command prints, of a background one the first."""
        if line == "kill %1":
            self.close()
            return []
        if line.endswith(" &"):
            return [self._start(line.removesuffix(" &"))]
        ran = subprocess.run(
            ["bash", "-c", line],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self._quiet else subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        failures = [text for text in (ran.stderr or "").splitlines() if text.startswith("twinset")]
        return [text.rstrip() for text in (*ran.stdout.splitlines(), *failures) if text.strip()]

    def close(self) -> None:
        """End what goes on in the background."""
        if self._background is not None:
            self._background.terminate()
            self._background.communicate(timeout=30)
            self._background = None

    def _start(self, line: str) -> str:
        with (self._folder / "background.log").open("w") as log:
            self._background = subprocess.Popen(
                shlex.split(line),
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._background.stdout is not None
        return self._background.stdout.readline().rstrip()


class Reader:
    """Compares what is printed with what a page shows, and learns which hashes stand for which."""

    def __init__(self) -> None:
        self._actual: dict[str, str] = {}

    def translate(self, text: str) -> str:
        """Return `text` with the page's hashes replaced by those of this run."""
        return _HASH.sub(lambda found: self._actual.get(found[0], found[0]), text)

    def compare(self, command: Command, printed: list[str]) -> None:
        """Raise AssertionError where `printed` isn't what the page shows."""
        left = list(printed)
        for shown in command.output:
            if shown.strip() == "...":
                continue
            line = next((line for line in left if self._same(shown, line)), None)
            assert line is not None, self._explain(command, f"shows  {shown}", printed)
            left.remove(line)
        assert not left or "..." in command.output, self._explain(command, f"doesn't show  {left}", printed)

    def _same(self, shown: str, line: str) -> bool:
        hashes: list[str] = []

        def pattern(found: re.Match[str]) -> str:
            if found["hash"]:
                known = self._known(found["hash"])
                hashes.append(found["hash"])
                return "(" + (known or f"[0-9a-f]{{{len(found['hash'])}}}") + ")"
            return _NUMBER if found["number"] else "[─-]+" if found["rule"] else r"\s+"

        expression, end = "", 0
        for found in _VARYING.finditer(shown):
            expression += re.escape(shown[end : found.start()]) + pattern(found)
            end = found.end()
        matched = re.fullmatch(rf"\s*{expression}{re.escape(shown[end:])}", line)
        if matched is None:
            return False
        self._actual.update(zip(hashes, matched.groups(), strict=True))
        return True

    def _known(self, shown: str) -> str | None:
        if shown in self._actual:
            return self._actual[shown]
        # A model's name has the first digits of its fingerprint.
        whole = (actual for page, actual in self._actual.items() if page.startswith(shown))
        return next((actual[: len(shown)] for actual in whole), None)

    @staticmethod
    def _explain(command: Command, told: str, printed: list[str]) -> str:
        return "\n".join([f"$ {command.line}", f"the page {told}", "it printed", *printed])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "samples").symlink_to(ROOT / "samples", target_is_directory=True)
    return tmp_path


@pytest.fixture
def shell(folder: Path) -> Iterator[Shell]:
    opened = Shell(folder)
    yield opened
    opened.close()


@pytest.mark.slow
def test_the_commands_of_exporting_print_what_the_page_shows(shell: Shell, folder: Path) -> None:
    reader = Reader()
    ran = 0
    for block in _BLOCK.finditer((ROOT / "docs" / "exporting.md").read_text()):
        if block["kind"] != "console":
            (folder / block["file"]).write_text(block["body"])
            continue
        for command in commands(block["body"]):
            reader.compare(command, shell.run(reader.translate(command.line)))
            ran += 1
    assert ran > 10


def test_the_commands_of_operations_print_what_the_page_shows(folder: Path) -> None:
    write_tiny_model(folder / "model_repository")
    reader, ran = Reader(), 0
    with contextlib.closing(Shell(folder, quiet=True)) as shell:
        for block in _BLOCK.finditer((ROOT / "docs" / "operations.md").read_text()):
            for command in commands(block["body"]):
                printed = shell.run(reader.translate(command.line))
                reader.compare(command, [line.replace(str(folder), "/srv/twinset") for line in printed])
                ran += 1
    assert ran > 10


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["put 5"], ["put 5 and lost 1"]),
        (["one", "two"], ["one"]),
        (["one"], ["one", "two"]),
        (["model a0000000", "model a0000000"], ["model b0000000", "model c0000000"]),
        (["ok"], ["FAILED"]),
    ],
)
def test_another_output_than_the_page_s_is_told(shown: list[str], printed: list[str]) -> None:
    with pytest.raises(AssertionError):
        Reader().compare(Command("x", shown), printed)


def test_numbers_hashes_and_widths_may_differ() -> None:
    reader = Reader()
    reader.compare(
        Command("x", ["  1.5 s  model-a0000000   ok", "...", "took 1,000 ms"]),
        [" 12.25 s  model-b0000001 ok", "some", "lines", "took 7 ms"],
    )
    assert reader.translate("show model-a0000000") == "show model-b0000001"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
