"""The wheel, installed into an empty environment with nothing but what it requires."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from tests.support.wheels import write_wheels

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_its_page_has_no_link_that_an_index_cannot_follow(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        head, _, page = archive.read(name).decode().partition("\n\n")
    assert "# llmd" in page
    assert [url for url in re.findall(r"\]\(([^)]+)\)", page) if ":" not in url] == []
    for field in ("Author: ", "Keywords: ", "Classifier: Typing :: Typed", "Project-URL: "):
        assert field in head


def test_an_empty_environment_completes_with_it(
    wheel: Path, tmp_path: Path, models_dir: Path
) -> None:
    write_wheels(PROJECT["dependencies"], wheel.parent)
    venv.create(tmp_path / "env", with_pip=True)
    program = tmp_path / "env" / "bin"
    install = ("-m", "pip", "install", "--no-index", "--find-links", wheel.parent, wheel)
    subprocess.run([program / "python", *install], check=True, capture_output=True)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LLMD_MODELS_DIR": str(models_dir)}
    env |= {f"LLMD_{name}_DIR": str(tmp_path / name) for name in ("STATE", "CACHE")}
    runtime = tempfile.TemporaryDirectory(prefix="llmd-")  # a socket path has at most 104 bytes
    env["LLMD_RUNTIME_DIR"] = runtime.name
    (tmp_path / "a.py").write_text("def area(radius):\n    return 3.14 * \n")

    def llmd(*args: str) -> str:
        done = subprocess.run(
            [program / "llmd", *args], env=env, cwd=tmp_path, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    try:
        answer = json.loads(llmd("complete", "a.py:2:19", "--json"))
        assert answer["trace"]["path"] == "cold"
        assert json.loads(llmd("status", "--json"))["state"] == "ready"
        assert "llmd" in llmd("path", "plugin-vim")
    finally:
        llmd("stop")
        runtime.cleanup()
