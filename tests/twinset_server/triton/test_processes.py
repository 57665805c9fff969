"""The state of other processes is read right."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from twinset_server.triton.processes import Process, find_process, session_processes


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        yield child
        child.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def process_of(child: subprocess.Popen[bytes]) -> Process:
    process = find_process(child.pid)
    assert process is not None
    return process


def test_a_process_that_can_work_has_no_fault(child: subprocess.Popen[bytes]) -> None:
    assert process_of(child).fault() is None


def test_a_stopped_process_is_stopped_until_it_goes_on(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: process.fault() == "stopped")
    child.send_signal(signal.SIGCONT)
    wait_until(lambda: process.fault() is None)


def test_a_killed_process_is_dead_and_after_it_was_waited_for_gone(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    child.kill()
    wait_until(lambda: process.fault() == "dead")
    child.wait()
    assert process.fault() == "gone"


def test_a_later_process_of_the_same_pid_is_another(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    assert Process(process.pid, process.started - 1).fault() == "gone"


def test_no_process_is_found_where_there_is_none() -> None:
    assert find_process(2**22 + 1) is None


def test_a_waiting_process_is_asleep_and_a_busy_one_is_not(child: subprocess.Popen[bytes]) -> None:
    wait_until(process_of(child).asleep)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            process = process_of(busy)
            wait_until(lambda: not process.asleep())
            assert not any(process.asleep() for _ in range(20))
        finally:
            busy.kill()


def test_only_the_process_that_listens_is_taken_for_it() -> None:
    program = (
        "import socket, time; listener = socket.create_server(('127.0.0.1', 0)); "
        "print(listener.getsockname()[1], flush=True); time.sleep(60)"
    )
    with (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as listener,
        socket.create_server(("127.0.0.1", 0)) as own,
    ):
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        process, this = process_of(listener), find_process(os.getpid())
        assert this is not None
        assert (process.listens_on(port), this.listens_on(port)) == (True, False)
        assert (process.listens_on(own.getsockname()[1]), this.listens_on(own.getsockname()[1])) == (False, True)
        listener.kill()


def test_the_processes_of_a_session_are_found(child: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: [process.pid for process in session_processes(child.pid)] == [child.pid])
    assert os.getpid() not in [process.pid for process in session_processes(child.pid)]
