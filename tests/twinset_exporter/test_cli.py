from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from twinset_exporter import cli
from twinset_exporter.backbones.registry import BACKBONES
from twinset_exporter.export import Result
from twinset_exporter.repository import Repository

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["twinset-exporter", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as done:
            cli.main()
        told = capsys.readouterr()
        assert isinstance(done.value.code, int)
        return done.value.code, told.out, told.err

    return run


def test_help_names_the_commands(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "export" in out
    assert "models" in out


def test_help_of_export_tells_the_backbones_and_an_example(run: Run) -> None:
    code, out, _ = run("export", "--help")
    assert code == 0
    for backbone in BACKBONES.values():
        assert f"{backbone.name}: {backbone.summary}" in out
    assert "twinset-exporter export efficientnet_lite0 --repository model_repository" in out
    for option in ("--weights", "--random-weights", "--pictures", "--size", "--interpolation"):
        assert option in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["vgg99"], "no backbone 'vgg99': choose one of efficientnet_lite0, resnet50"),
        (["resnet50"], "resnet50 has no weights in the box.*--weights FILE.*--random-weights SEED"),
        (["resnet50", "--weights", "/none.h5"], "no weights file /none.h5"),
        (["resnet50", "--weights", "/none.h5", "--random-weights", "1"], "exclude each other"),
        (["efficientnet_lite0", "--size", "4"], "--size 4: efficientnet_lite0 takes 32 to 1024 pixels"),
        (["efficientnet_lite0", "--pictures", "/none"], "no folder /none"),
        (["efficientnet_lite0", "--reduce", "9"], "--reduce K and --reduce-on FOLDER go together"),
        (["efficientnet_lite0", "--reduce", "9", "--reduce-on", "/none"], "/none does not exist"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, arguments: list[str], line: str) -> None:
    code, _, err = run("export", *arguments, "--repository", str(tmp_path / "models"))
    assert code == 2
    assert re.fullmatch(f"twinset-exporter: .*{line}.*\n", err)
    assert Repository(tmp_path / "models").models() == []


def test_a_failure_is_one_line_and_exit_code_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("export", "efficientnet_lite0", "--repository", str(tmp_path / "file"))
    assert code == 1
    assert re.fullmatch("twinset-exporter: can't write to the model repository .*--repository\n", err)


def test_random_weights_are_said_to_be_random(run: Run, export_tiny: Callable[[int], Result]) -> None:
    result = export_tiny(0)
    code, out, _ = run("models", "--repository", str(result.path.parent))
    assert code == 0
    assert re.search(
        rf"{result.contract.model} +tiny +visual \(4, cosine\) +{result.contract.artifact[:8]} +random", out
    )


def test_models_lists_trained_and_broken_ones(run: Run, lite0: Result) -> None:
    broken = lite0.path.parent / "broken"
    broken.mkdir()
    try:
        code, out, _ = run("models", "--repository", str(lite0.path.parent))
    finally:
        broken.rmdir()
    assert code == 0
    assert re.search(rf"{lite0.contract.model} .* trained", out)
    assert re.search(r"broken +broken +config\.pbtxt: No such file", out)


def test_models_of_an_empty_repository_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("models", "--repository", str(tmp_path))
    assert code == 0
    assert "twinset-exporter export" in out


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"twinset-exporter \d+\.\d+\.\d+\n", out)
