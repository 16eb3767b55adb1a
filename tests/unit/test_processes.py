"""Tests what a child of llmd imports from, and where programs are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmd import processes
from llmd.processes import absolute_model, child_env, find_program

OURS = str(processes._PACKAGE_FOLDER)


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (None, None),
        ("", None),
        (".", None),
        ("/evil", None),
        (":/evil:", None),
        (OURS, OURS),
        (f"/evil:{OURS}:.", OURS),
        (f"{OURS}/../{Path(OURS).name}", OURS),
    ],
)
def test_a_child_imports_llmd_from_where_this_process_did(
    found: str | None, kept: str | None
) -> None:
    environ = {"HOME": "/h"} | ({} if found is None else {"PYTHONPATH": found})
    assert child_env(environ) == {"HOME": "/h"} | ({"PYTHONPATH": kept} if kept else {})


def test_paths_are_absolute_for_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = child_env({"LLMD_CONFIG": "c.toml", "LLMD_STATE_DIR": "/s", "LLMD_MODELS_DIR": ""})
    assert made == {"LLMD_CONFIG": f"{tmp_path}/c.toml", "LLMD_STATE_DIR": "/s",
                    "LLMD_MODELS_DIR": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("builtin", "builtin"),
        ("qwen:Q4_0", "qwen:Q4_0"),
        ("hf:a/b/c.gguf", "hf:a/b/c.gguf"),
        ("ollama:a/b:c", "ollama:a/b:c"),
        ("~/m.gguf", "~/m.gguf"),
        ("/m.gguf", "/m.gguf"),
        ("m.gguf", "{}/m.gguf"),
        ("./a/m", "{}/a/m"),
    ],
)
def test_a_model_that_is_a_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin").touch()
    assert absolute_model(name) == expected.format(tmp_path)


@pytest.mark.parametrize("path", ["", ":", ".", "bin", "./bin:", "{}/../{}"])
def test_no_program_is_found_by_a_relative_entry_of_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        (folder / "nvim").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert find_program("nvim") is None
    monkeypatch.setenv("PATH", os.pathsep.join((path, str(tmp_path / "bin"))))
    assert find_program("nvim") == str(tmp_path / "bin" / "nvim")
