"""What docker/ says, read as what it is: instructions, a composition, and the objects of a cluster."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
IMAGES = ("server", "exporter")
CLUSTERS = ("cpu", "gpu")


def instructions(image: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of an image's file and its argument, continued lines joined."""
    text = (DOCKER / f"{image}.Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, argument = line.partition(" ")
            yield name, argument.strip()


def variables(image: str) -> dict[str, str]:
    """Return the variables that an image sets."""
    found: dict[str, str] = {}
    for name, argument in instructions(image):
        if name == "ENV":
            found |= dict(part.split("=", 1) for part in shlex.split(argument))
    return found


def composition() -> dict[str, Any]:
    """Return compose.yaml as `docker-compose` understands it, with both profiles."""
    command = [BIN / "docker-compose", "--file", DOCKER / "compose.yaml", "--profile", "*", "config"]
    ran = subprocess.run(
        command, env={"TRITON_IMAGE": "triton", "TWINSET_MODEL": "model"}, check=True, capture_output=True, text=True
    )
    read: dict[str, Any] = yaml.safe_load(ran.stdout)
    return read


def cluster(name: str) -> list[dict[str, Any]]:
    """Return the objects that Kustomize makes for a cluster."""
    ran = subprocess.run(
        [BIN / "kubectl", "kustomize", DOCKER / "kubernetes" / name], check=True, capture_output=True, text=True
    )
    return list(yaml.safe_load_all(ran.stdout))


def of_kind(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return the object of a kind and a name."""
    (found,) = (one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name)
    return found
