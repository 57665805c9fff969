"""The page in a real browser: what its script makes of it."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from twinset_exporter.training.report import page
from twinset_exporter.training.report.map import Map
from twinset_exporter.training.report.report import Report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium")


def test_the_map_is_built_and_texts_of_users_stay_texts(tmp_path: Path, jpegs: list[bytes]) -> None:
    hostile = "<img src=x onerror=document.title='taken'></script>"
    section = Map(np.eye(3)[:, :2], [hostile, "b", "c"], {hostile: [hostile, "boot", "boot"]}, [jpegs[0], None, None])
    path = tmp_path / "report.html"
    page.write(path, Report("Category head", sections=[section]))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    # --virtual-time-budget lets images and their events happen first.
    command = [str(BROWSER), *options, "--virtual-time-budget=2000", path.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>Category head</title>" in found
    assert '<span class="text">boot</span><span class="count">2</span>' in found
    assert "Map of 3 items" in found
    assert "<img" not in found
