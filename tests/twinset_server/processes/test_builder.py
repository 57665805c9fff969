"""A builder's end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from fakes import supervised
from twinset_server.config import Settings, StoreSettings
from twinset_server.processes.order import Order
from twinset_server.rpc.interceptor import Place

TESTS = Path(supervised.__file__).parents[1]


def test_one_that_is_told_to_end_while_it_says_that_it_is_ready_ends(tmp_path: Path) -> None:
    order = Order(Settings(store=StoreSettings(path=tmp_path)), Place(0, 1), model_is_ready=False)
    heard, told = os.pipe()
    fill(told)  # so that it waits in the midst of telling
    command = [sys.executable, str(supervised.PROGRAM), "builder"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, env=environment) as builder:
        try:
            assert builder.stdin is not None
            builder.stdin.write(json.dumps(order.to_json()).encode() + b"\n")
            builder.stdin.flush()
            wait_for(tmp_path / "begun")
            builder.terminate()
            drain(heard)
            assert builder.wait(20) == 0
        finally:
            builder.kill()
            os.close(heard)
            os.close(told)


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(4096))
    os.set_blocking(pipe, True)


def drain(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while os.read(pipe, 65536):
            pass


def wait_for(file: Path) -> None:
    ends = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < ends
        time.sleep(0.01)
