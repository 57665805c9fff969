from __future__ import annotations

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from twinset.contract import Metric, ModelContract, SpaceContract
from twinset.images import PicturePipeline
from twinset.known_answer import KnownAnswer
from twinset_exporter import triton_config
from twinset_exporter.card import with_card
from twinset_exporter.errors import ExportError
from twinset_exporter.fingerprint import artifact
from twinset_exporter.repository import CONFIG, MODEL, BrokenModel, PublishedModel, Repository

ONNX = b"stands for a graph " * 1000


def contract(onnx_model: bytes = ONNX, backbone: str = "tiny") -> ModelContract:
    return ModelContract(
        backbone=backbone,
        fingerprint="ab" * 32,
        artifact=artifact(onnx_model),
        pipeline=PicturePipeline(16, 16),
        spaces=(SpaceContract("visual", "embedding", 4, Metric.COSINE),),
        known_answer=KnownAnswer(1, 2, 0.01, {"embedding": np.eye(2, 4, dtype=np.float32)}),
    )


def files(model: ModelContract, onnx_model: bytes = ONNX) -> dict[str, bytes]:
    config = triton_config.render(model, {"features": 4, "embedding": 4}, {})
    return with_card(model, {CONFIG: config.encode(), MODEL: onnx_model})


def visible(repository: Repository) -> list[str]:
    return [model.path.name for model in repository.models()]


def everything(repository: Repository) -> list[str]:
    return sorted(entry.name for entry in repository.root.iterdir())


def written(path: Path) -> tuple[int, int]:
    """Return which file it is and when it was last written."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def test_a_published_model_is_listed_with_its_contract(repository: Repository) -> None:
    assert repository.publish(contract(), files(contract()))
    (model,) = repository.models()
    assert isinstance(model, PublishedModel)
    assert (model.contract.model, model.contract.artifact) == ("tiny-abababab", contract().artifact)
    assert model.problems() == []
    assert everything(repository) == ["tiny-abababab"]


def test_others_may_read_what_is_published(repository: Repository) -> None:
    mask = os.umask(0o022)
    try:
        repository.publish(contract(), files(contract()))
    finally:
        os.umask(mask)
    place = repository.root / "tiny-abababab"
    assert [oct(path.stat().st_mode & 0o777) for path in (place, place / "1", place / MODEL)] == [
        "0o755",
        "0o755",
        "0o644",
    ]


def test_publishing_the_same_again_does_nothing(repository: Repository) -> None:
    repository.publish(contract(), files(contract()))
    before = written(repository.root / "tiny-abababab" / MODEL)
    assert not repository.publish(contract(), files(contract()))
    assert written(repository.root / "tiny-abababab" / MODEL) == before


def test_another_file_of_the_same_fingerprint_leaves_the_published_one_as_it_is(repository: Repository) -> None:
    repository.publish(contract(), files(contract()))
    other = contract(b"another")
    assert not repository.publish(other, files(other, b"another"))
    assert (repository.root / "tiny-abababab" / MODEL).read_bytes() == ONNX


def test_a_damaged_file_is_not_taken_for_published(repository: Repository) -> None:
    repository.publish(contract(), files(contract()))
    (repository.root / "tiny-abababab" / MODEL).write_bytes(ONNX[:-1])
    with pytest.raises(ExportError, match="damaged"):
        repository.publish(contract(), files(contract()))


def test_a_folder_in_the_way_is_left_alone(repository: Repository) -> None:
    (repository.root / "tiny-abababab").mkdir()
    with pytest.raises(ExportError, match=r"in the way.*config\.pbtxt"):
        repository.publish(contract(), files(contract()))
    assert list((repository.root / "tiny-abababab").iterdir()) == []


@pytest.mark.parametrize("backbone", ["../tiny", "a/b", "a\\b", ".tiny", "", "a b", "a\n"])
def test_a_name_that_is_no_folder_s_is_refused(repository: Repository, backbone: str) -> None:
    with pytest.raises(ExportError, match="no name for a model"):
        repository.publish(contract(backbone=backbone), files(contract()))
    assert everything(repository) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_repository import contract, files
from twinset_exporter.repository import Repository

# Dies where everything is written and nothing is renamed.
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Repository(Path({root!r})).publish(contract(), files(contract()))
"""


def test_a_publisher_killed_before_the_rename_leaves_nothing_visible_and_the_next_cleans_up(
    repository: Repository,
) -> None:
    script = textwrap.dedent(KILLED.format(tests=str(Path(__file__).parent), root=str(repository.root)))
    died = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert visible(repository) == []
    assert everything(repository) == [".publishing-tiny-abababab"]
    other = contract(backbone="other")
    assert repository.publish(other, files(other))
    assert everything(repository) == ["other-abababab"]


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_repository import contract, files
from twinset_exporter.errors import ExportError
from twinset_exporter.repository import Repository

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # less than the graph
try:
    Repository(Path({root!r})).publish(contract(), files(contract()))
except ExportError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_leaves_nothing_behind(repository: Repository) -> None:
    script = textwrap.dedent(FULL.format(tests=str(Path(__file__).parent), root=str(repository.root)))
    ran = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    assert ran.stdout == (
        f"can't write to the model repository {repository.root}: File too large; choose another with --repository\n"
    )
    assert everything(repository) == []


def test_of_publishers_at_once_one_publishes(repository: Repository) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: repository.publish(contract(), files(contract())), range(16)))
    assert sorted(results) == [False] * 15 + [True]
    assert everything(repository) == ["tiny-abababab"]


def test_a_repository_that_can_t_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"can't write to the model repository .*--repository"):
        Repository(tmp_path / "file" / "models").make()


def test_a_repository_that_isn_t_there_is_empty(tmp_path: Path) -> None:
    assert Repository(tmp_path / "none").models() == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, r"config\.pbtxt: No such file"),
        ("max_batch_size: many", "not a Triton model config"),
        ('name: "x"', "twinset-exporter did not write it"),
    ],
)
def test_a_folder_that_is_no_model_is_listed_as_broken(repository: Repository, config: str | None, reason: str) -> None:
    folder = repository.root / "x"
    folder.mkdir()
    if config is not None:
        (folder / CONFIG).write_text(config)
    (model,) = repository.models()
    assert isinstance(model, BrokenModel)
    assert model.path == folder
    assert re.search(reason, model.reason)


def test_a_renamed_model_is_broken(repository: Repository) -> None:
    repository.publish(contract(), files(contract()))
    (repository.root / "tiny-abababab").rename(repository.root / "mine")
    (model,) = repository.models()
    assert isinstance(model, BrokenModel)
    assert "renamed" in model.reason


def test_a_later_contract_is_broken_not_misread(repository: Repository) -> None:
    model = contract()
    config = triton_config.render(model, {"features": 4, "embedding": 4}, {"twinset.contract": "3"})
    repository.publish(model, {CONFIG: config.encode(), MODEL: ONNX})
    (found,) = repository.models()
    assert isinstance(found, BrokenModel)
    assert "version 3" in found.reason
