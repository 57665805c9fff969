"""Where tritonserver and what it needs lie on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twinset_server.errors import StartupError

INSTALL_COMMAND = "pip install --no-deps nvidia-pytriton==0.7.0"

_STUB = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Installation:
    """The tritonserver of the wheel nvidia-pytriton.

    `libraries` are folders of shared libraries for the loader, `packages` folders of Python packages for the backend,
    and `backend` is the file of our own backend.
    """

    tritonserver: Path
    python_backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    packages: tuple[Path, ...]
    backend: Path = Path(__file__).parent / "backend" / "model.py"

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the child: nothing of the server's own leaks in."""
        return {
            # The stub's Python finds its virtual environment by the first python3 on PATH.
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin")),
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, self.libraries)),
            "PYTHONPATH": os.pathsep.join(map(str, self.packages)),
            # This Triton runs models on the processor; left to itself it would make contexts on every GPU it sees.
            "CUDA_VISIBLE_DEVICES": "",
        }

    def write_backends(self, folder: Path) -> None:
        """Write the folder for `--backend-directory`: the Python backend, and ours on top of it.

        Copies, since Triton looks for the stub beside the library's real path. Triton hands the folder to the stub
        unquoted: its path must hold no spaces.
        """
        shutil.copytree(self.python_backend, folder / "python", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(self.stub, folder / "python" / _STUB)
        (folder / "onnxruntime").mkdir()
        shutil.copyfile(self.backend, folder / "onnxruntime" / "model.py")


def find_installation() -> Installation:
    """Return the installed Triton.

    Raises:
        StartupError: it or a part of it is missing; the message says what to install.
    """
    root = _package_folder("pytriton", INSTALL_COMMAND) / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    tritonserver = root / "bin" / "tritonserver"
    stub = root / "python_backend_stubs" / version / _STUB
    bundled = root.parent.parent / "nvidia_pytriton.libs"
    for path in (tritonserver, root / "backends" / "python", bundled):
        if not path.exists():
            raise StartupError(f"{path} is missing: install Triton anew with `{INSTALL_COMMAND} --force-reinstall`")
    if not stub.exists():
        known = sorted(path.name for path in stub.parent.parent.iterdir())
        raise StartupError(f"the embedded Triton has no part for Python {version}: run the server on one of {known}")
    packages = {
        _package_folder("onnxruntime", "pip install 'twinset[embedded]'").parent,
        _package_folder("numpy", "pip install numpy").parent,
    }
    return Installation(
        tritonserver=tritonserver,
        python_backend=root / "backends" / "python",
        stub=stub,
        # The wheel's own first: a system library must not take the place of a bundled one.
        libraries=tuple(dict.fromkeys((bundled, find_libpython(version, [bundled, *_library_folders()])))),
        packages=tuple(sorted(packages)),
    )


def find_libpython(version: str, folders: Iterable[Path]) -> Path:
    """Return the first of `folders` that holds the shared library of Python `version`, which the stub is linked to.

    Raises:
        StartupError: none holds it.
    """
    name = f"libpython{version}.so.1.0"
    # For the newest Python that the wheel knows it brings the library: libpython3-419a3a08.13.so.1.0.
    major, _, minor = version.partition(".")
    patterns = (name, f"libpython{major}-*.{minor}.so.1.0")
    searched = list(dict.fromkeys(folders))
    for folder in searched:
        if any(next(folder.glob(pattern), None) for pattern in patterns):
            return folder
    raise StartupError(
        f"the embedded Triton needs {name}, which is in none of {', '.join(map(str, searched))}: "
        f"install it with `apt-get install libpython{version}`, or set triton.url to a Triton that runs elsewhere"
    )


def _library_folders() -> list[Path]:
    folders = [Path(sys.base_prefix) / "lib"]
    if built_for := sysconfig.get_config_var("LIBDIR"):
        folders.append(Path(built_for))
    folders += [Path(entry) for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    for system in ("/usr/local/lib", "/usr/lib", "/lib"):
        if multiarch := sysconfig.get_config_var("MULTIARCH"):
            folders.append(Path(system) / multiarch)
        folders += [Path(system), Path(f"{system}64")]
    return folders


def _package_folder(package: str, install: str) -> Path:
    """Return where `package` lies, without running any of it.

    Raises:
        StartupError: it isn't installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise StartupError(
            f"the embedded Triton needs the package {package}: install it with `{install}`, "
            "or set triton.url to a Triton that runs elsewhere"
        )
    return Path(found.submodule_search_locations[0])
