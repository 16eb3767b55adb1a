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
    ("text", "expected"),
    [
        ("see [docs/X.md](docs/X.md).", "see docs/X.md."),
        ("![a picture](docs/demo.svg)\n\nnext", "next"),
        ("[upstream](https://example.org/x) stays", "[upstream](https://example.org/x) stays"),
    ],
)
def test_a_page_on_an_index_has_no_relative_links(text: str, expected: str) -> None:
    assert without_relative(text) == expected
