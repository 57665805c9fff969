"""The whole service as a user runs it: an exported backbone, the real tritonserver, a server process."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from twinset import Client

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parents[2] / "samples" / "fashion-mnist"
KINDS = ("ankle-boot", "bag", "dress", "sandal")
OF_A_KIND = 20


@dataclass
class Server:
    """A running `twinset-server serve`."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model repository with EfficientNet-Lite0, exported as a user would."""
    folder = tmp_path_factory.mktemp("model_repository")
    exporter("export", "efficientnet_lite0", "--repository", folder)
    return folder


@pytest.fixture(scope="session")
def wares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder to train on: `pictures`, 20 samples of each of `KINDS`, and `labels.csv` with `category`."""
    return some_samples(tmp_path_factory.mktemp("wares"), KINDS, OF_A_KIND)


def some_samples(folder: Path, kinds: Iterable[str], each: int) -> Path:
    """Copy the first `each` samples of the kinds into `folder`, with their rows of the labels, and return it."""
    ids = []
    for kind in kinds:
        (folder / "pictures" / kind).mkdir(parents=True)
        for file in sorted((SAMPLES / kind).glob("*.png"))[:each]:
            shutil.copy(file, folder / "pictures" / kind)
            ids.append(f"{kind}/{file.stem}")
    heading, *lines = (SAMPLES / "labels.csv").read_text().splitlines()
    kept = [line for line in lines if line.partition(",")[0] in ids]
    (folder / "labels.csv").write_text("\n".join([heading, *kept]) + "\n")
    return folder


@pytest.fixture(scope="session")
def wares_features(repository: Path, wares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the features of `wares`, as `embed` wrote them."""
    output = tmp_path_factory.mktemp("features") / "wares"
    exporter("embed", wares / "pictures", "--outputs", "features", "--output", output, "--repository", repository)
    return output


Start = Callable[..., Server]
"""Starts a server on a catalogue folder, with further options."""


@contextmanager
def starting(models: Path) -> Iterator[Start]:
    """Return a function that starts a server of `models`, unless another repository is named; all are stopped then."""
    with ExitStack() as stack:

        def _start(data: Path, *options: str | Path, repository: Path = models) -> Server:
            log = data.with_suffix(".log")
            command = [BIN / "twinset-server", "serve", "--port", "0", "--data", data, *options]
            command += ["--model-repository", repository]
            errors = stack.enter_context(log.open("a"))
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            stack.callback(_stop, process)
            for line in process.stdout or ():
                if found := re.search(r"twinset serves on (\S+)", line):
                    return Server(found[1], process, log)
            raise RuntimeError(f"the server did not start: {log.read_text()}")

        yield _start


# Not for the session: servers that nobody asks any more would take processor time from all tests that follow.
@pytest.fixture(scope="module")
def start(repository: Path) -> Iterator[Start]:
    """Return a function that starts a server on a catalogue folder; all of a module are stopped at its end."""
    with starting(repository) as start:
        yield start


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=30)
    if process.stdout:
        process.stdout.close()


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that holds 30 samples of each of ten labels."""
    kinds = [path.name for path in SAMPLES.iterdir() if path.is_dir()]
    samples = some_samples(tmp_path_factory.mktemp("samples"), kinds, 30)
    with starting(repository) as start:
        running = start(tmp_path_factory.mktemp("shared") / "data")
        put = run("--server", running.address, "put", samples / "pictures", "--attributes", samples / "labels.csv")
        assert put.returncode == 0, put.stderr
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Return a client of the shared server."""
    with Client(server.address) as opened:
        yield opened


def exporter(*arguments: str | Path) -> None:
    """Run `twinset-exporter` as a user would; it must end well."""
    subprocess.run([BIN / "twinset-exporter", *arguments], check=True, timeout=600)


def run(*arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `twinset` as a user would."""
    return subprocess.run([BIN / "twinset", *arguments], check=False, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture(scope="session")
def twinset() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs `twinset` as a user would."""
    return run
