"""A child ends with its supervisor, whenever that dies."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = "from twinset_server.processes.parent import Parent; Parent(); print('goes on')"


def exit_status(stdin: int) -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM], stdin=stdin, check=False, timeout=60).returncode


def test_a_child_whose_supervisor_died_before_it_began_ends_though_an_order_waits() -> None:
    read, write = os.pipe()
    os.write(write, b"{}\n")
    os.close(write)
    assert exit_status(read) == 1
    os.close(read)


def test_a_child_whose_supervisor_lives_goes_on() -> None:
    read, write = os.pipe()
    assert exit_status(read) == 0
    os.close(read)
    os.close(write)
