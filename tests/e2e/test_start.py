"""How the server starts and stops when something is wrong."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from e2e.conftest import BIN, SAMPLES, Start
from fakes.models import write_tiny_model
from twinset import Client, Item, Picture


def _shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def test_a_model_of_another_fingerprint_is_refused_at_the_start_with_both_named(start: Start, tmp_path: Path) -> None:
    first = start(tmp_path / "data")
    with Client(first.address) as client:
        content = next(SAMPLES.rglob("*.png")).read_bytes()
        (result,) = client.put_items([Item("a", pictures=[Picture(content)])])
        assert result.error is None
        ours = client.catalog().spaces[0].fingerprint
    first.kill()
    other = write_tiny_model(tmp_path / "models")
    command = [BIN / "twinset-server", "serve", "--port", "0", "--data", tmp_path / "data"]
    refused = subprocess.run(
        [*command, "--model-repository", tmp_path / "models", "--model", other],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert refused.returncode == 2
    assert ours in refused.stderr
    assert other in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound and not listening: nothing answers, and the server goes on trying
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [BIN / "twinset-server", "serve", "--port", "0", "--data", tmp_path / "data", "--triton-url", address]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in process.stderr or ():
            if "Triton is down" in line:
                break
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "stopped while starting" in said


def test_a_stopped_server_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    before = _shared_memory()
    server = start(tmp_path / "data")
    group = subprocess.run(
        ["pgrep", "-P", str(server.process.pid)], check=True, capture_output=True, text=True
    ).stdout.split()
    assert group
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=15) == 0
    ends = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in group) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in group)
    assert {name for name in _shared_memory() - before if str(server.process.pid) in name} == set()


def test_probes_tell_of_the_start_and_of_the_end_before_calls_are_turned_away(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("TWINSET_PROBES__PORT", str(port))
    monkeypatch.setenv("TWINSET_SERVER__PAUSE_S", "60")

    def health(service: str) -> tuple[int, str]:
        ran = subprocess.run([BIN / "twinset-server", "health", service], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout.strip()

    server = start(tmp_path / "data")
    for service in ("liveness", "startup", "readiness"):
        assert health(service) == (0, "SERVING")
    server.process.send_signal(signal.SIGTERM)
    while health("readiness") != (1, "NOT_SERVING"):
        time.sleep(0.05)
    assert health("liveness") == (0, "SERVING")
    with Client(server.address) as client:
        assert client.catalog().item_count == 0
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0
    assert health("liveness")[0] == 1
