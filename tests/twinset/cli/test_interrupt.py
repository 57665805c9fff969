from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from fakes.command_line import picture
from fakes.server import FakeServer


def test_ctrl_c_ends_a_put_with_a_summary(server: FakeServer, tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"{n:03}.png").write_bytes(picture(n % 256, 0, 9))
    server.silent_after = 2
    # Of a shell that runs in the background a child would ignore the signal.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    main = f"{heard}; from twinset.cli import main; main()"
    command = [sys.executable, "-c", main, "--server", server.address, "put", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert server.fell_silent.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.startswith("300 pictures: ")
    assert err == "twinset: stopped: run the same command again to go on\n"
    assert len(server.items) == 128
