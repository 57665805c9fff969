"""A Triton for the time of one run: `twinset-server triton` as a child process.

The exporter knows the server by its command line alone.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twinset_exporter.errors import ExportError

_READY = re.compile(r"Triton serves (?P<model>\S+) on (?P<address>\S+)")
_STOP_S = 10.0
_PREFIX = "twinset-server: "


@contextlib.contextmanager
def own_triton(repository: Path, model: str | None) -> Iterator[tuple[str, str]]:
    """Yield the address of a Triton that serves the model, and the model's name; end it afterwards.

    It ends with this process too, even where that is killed: its stdin is a pipe from here.

    Raises:
        ExportError: it can't be started; the message has the server's reason.
    """
    # -P: a folder `twinset_server` where the user happens to be isn't the server.
    command = [sys.executable, "-P", "-m", "twinset_server", "triton", "--model-repository", str(repository)]
    if model is not None:
        command += ["--model", model]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(  # noqa: S603 - a list of arguments, and no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Ctrl-C is for this process, which finishes what is under way and then ends its Triton.
            start_new_session=True,
        )
        try:
            assert child.stdout is not None  # noqa: S101 - a pipe was asked for
            ready = _READY.match(child.stdout.readline())
            if ready is None:
                child.wait()
                errors.seek(0)
                raise ExportError(_reason(errors.read().decode("utf-8", "replace")))
            yield ready["address"], ready["model"]
        finally:
            _stop(child)


def _stop(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()  # the kernel ends tritonserver with it
        child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _reason(errors: str) -> str:
    if "No module named" in errors:
        missing = errors.strip().splitlines()[-1]
        return (
            f"no Triton can be started here ({missing}): pip install 'twinset[server,embedded]', or name a running one "
            "with --triton-url"
        )
    position = errors.find(_PREFIX)
    reason = errors[position + len(_PREFIX) :] if position >= 0 else errors
    return f"no Triton could be started: {reason.strip() or 'twinset-server triton ended without a word'}"
