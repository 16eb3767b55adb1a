"""When the environment brings its own CMake and Ninja."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import install
from tools.readme_hook import without_relative


@pytest.mark.parametrize(
    ("programs", "is_needed"),
    [
        ({}, True),
        ({"make": ""}, True),
        ({"cmake": "cmake version 3.25.1", "ninja": ""}, False),
        ({"cmake": "cmake version 4.0.0", "make": ""}, False),
        ({"cmake": "cmake version 3.25.1"}, True),
        ({"cmake": "cmake version 3.18.4", "make": ""}, True),
        ({"cmake": "no version", "make": ""}, True),
    ],
)
def test_cmake_comes_from_the_lock_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: dict[str, str], is_needed: bool
) -> None:
    for name, version in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{version}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.needs_cmake() == is_needed


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ({"python3.12", "python3.11", "python3"}, "python3.12"),
        ({"python3.13", "python3.12"}, "python3.13"),
        ({"python3.11"}, "python3.11"),
    ],
)
def test_a_newer_python_of_the_path_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: set[str], expected: str
) -> None:
    for name in programs:
        (tmp_path / name).touch(mode=0o755)
    run: list[list[str]] = []

    def execv(_: str, args: list[str]) -> None:
        run.append(args)
        raise SystemExit(0)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install.os, "execv", execv)
    monkeypatch.setattr(install.sys, "argv", ["tools/install.py"])
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 6))
    with pytest.raises(SystemExit):
        install.main()
    assert run == [[str(tmp_path / expected), "tools/install.py"]]


def test_without_a_newer_python_the_way_to_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 6))
    monkeypatch.setattr(install.sys, "platform", "darwin")
    with pytest.raises(SystemExit, match=r"brew install python@3.13.*PYTHON=\S+ make demo"):
        install.main()


def test_the_environment_links_its_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied interpreter of Homebrew, uv, mise or asdf does not find its library."""
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "LOG", tmp_path / ".venv" / "install.log")
    monkeypatch.setattr(install, "pip", lambda *_: None)
    assert install.main() == 0
    assert (tmp_path / ".venv" / "bin" / "python").is_symlink()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [docs/X.md](docs/X.md).", "see docs/X.md."),
        ("![a picture](docs/demo.svg)\n\nnext", "next"),
        ("[upstream](https://example.org/x) stays", "[upstream](https://example.org/x) stays"),
    ],
)
def test_a_page_on_an_index_has_no_relative_links(text: str, expected: str) -> None:
    assert without_relative(text) == expected
