"""The images' steps name what is there, and pin what the project pins."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from docker.deployment import DOCKER, IMAGES, ROOT, instructions, variables
from twinset_server.cli import app
from twinset_server.config import setting_names

_LOCAL = re.compile(r"/opt/|/wheels|python3\.12|python -m venv")
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def pins(path: Path) -> set[tuple[str, str]]:
    return set(_PIN.findall(path.read_text()))


@pytest.mark.parametrize("image", IMAGES)
def test_all_that_is_copied_is_in_the_checkout(image: str) -> None:
    for name, argument in instructions(image):
        *sources, _ = [part for part in shlex.split(argument) if not part.startswith("--")] or [""]
        if name == "COPY" and "--from" not in argument:
            assert sources
            for source in sources:
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize("file", sorted(DOCKER.glob("requirements-*.txt")), ids=lambda file: file.stem)
def test_what_images_install_is_what_is_tested(file: Path) -> None:
    assert pins(file)
    assert pins(file) <= pins(ROOT / "constraints.txt")


def test_the_server_has_no_tensorflow() -> None:
    names = {name for name, _ in pins(DOCKER / "requirements-server.txt")}
    assert not {name for name in names if "tensorflow" in name or name in ("keras", "tf2onnx", "onnx")}


def test_the_build_takes_what_the_project_builds_with() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    names = {name for name, _ in pins(DOCKER / "requirements-build.txt")}
    assert {re.split("[=<>]", one)[0] for one in wanted} <= names
    assert ("grpcio-tools", "1.81.1") in pins(DOCKER / "requirements-build.txt")


def test_each_variable_of_the_server_is_a_setting() -> None:
    ours = [name for name in variables("server") if name.startswith("TWINSET_")]
    assert ours
    for name in ours:
        assert name.removeprefix("TWINSET_").lower().replace("__", ".") in setting_names()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_a_command_of_the_project_and_not_as_root(image: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    said = dict(instructions(image))
    assert said["ENTRYPOINT"] == f'["twinset-{image}"]'
    assert f"twinset-{image}" in scripts
    assert said["USER"] == "10001:10001"


def test_the_servers_commands_are_there() -> None:
    for name, argument in instructions("server"):
        if name in ("CMD", "HEALTHCHECK"):
            words = shlex.split(argument[argument.index("[") :].strip("[]").replace(",", " "))
            command = [word for word in words if word != "twinset-server"]
            assert CliRunner().invoke(app, [command[0], "--help"]).exit_code == 0


def test_ports_are_those_that_the_settings_name() -> None:
    said, ours = dict(instructions("server")), variables("server")
    assert said["EXPOSE"].split() == ["50051", ours["TWINSET_PROBES__PORT"]]


@pytest.mark.slow
@pytest.mark.parametrize("image", IMAGES)
def test_the_steps_of_an_image_make_its_command(image: str, tmp_path: Path) -> None:
    """The steps with pip, to the letter, with folders of this machine for those of the image."""
    source = tmp_path / "source"
    local = {
        "/opt/": f"{tmp_path}/opt/",
        "/wheels": f"{tmp_path}/wheels",
        "python3.12": f"python3.{sys.version_info.minor}",
        "python -m venv": f"{sys.executable} -m venv",
    }
    for name, argument in instructions(image):
        if name == "COPY" and "--from" not in argument:
            *paths, target = shlex.split(argument)
            for path in paths:
                into = source / target if (ROOT / path).is_file() else (source / target).parent
                into.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", ROOT / path, into], check=True)
        elif name == "RUN" and "pip" in argument:
            step = _LOCAL.sub(lambda found: local[found[0]], argument)
            subprocess.run(["bash", "-euc", step], cwd=source, check=True)
    command = tmp_path / "opt/twinset/bin" / f"twinset-{image}"
    said = subprocess.run([command, "--help"], check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert "Usage" in said
    if image == "server":
        site = next((tmp_path / "opt/twinset/lib").glob("python3.*")) / "site-packages"
        assert (site / "twinset_server").is_dir()
        assert not (site / "twinset_exporter").exists()
        assert not (site / "tensorflow").exists()
