"""`twinset-server triton` serves one model by itself, and ends with whoever started it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from fakes.models import tiny_contract, tiny_onnx, write_model, write_tiny_model

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(repository: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "twinset_server", "triton", "--model-repository", repository, *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def address_of(process: subprocess.Popen[str], model: str) -> str:
    assert process.stdout is not None
    found = re.fullmatch(rf"Triton serves {model} on (\S+)\n", process.stdout.readline())
    assert found is not None
    return found[1]


def test_it_serves_the_model_until_its_stdin_ends(start: Start, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    process = start(tmp_path)
    with InferenceServerClient(address_of(process, model)) as client:
        assert client.is_model_ready(model)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0


def test_it_ends_by_sigterm(start: Start, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path)
    process = start(tmp_path, "--model", model)
    address_of(process, model)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "holds no model: make one with"),
        (lambda folder: write_model(folder, tiny_contract(0), tiny_onnx(1)), "doesn't give its known answer"),
        (lambda folder: write_model(folder, tiny_contract(0), b"no graph"), "could not load model"),
    ],
)
def test_what_it_cant_serve_is_told_with_the_reason(
    start: Start, tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path)
    process = start(tmp_path)
    # Not communicate(), which would close its stdin and so end it.
    assert process.wait(60) == 2
    assert process.stdout is not None
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.stdout.read() == ""
    assert err.startswith("twinset-server: ")
    assert message in err
