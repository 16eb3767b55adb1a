"""`.llmd.toml`: what it takes away, and that it can do nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmd.context.workspace import FILE_NAME, Workspaces


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def refuse(folder: Path, text: str, name: str = "src/a.py", language: str = "python") -> str:
    (folder / FILE_NAME).write_text(text)
    return Workspaces().refuse((str(folder / name),), language)


CASES = {
    "nothing": ("", "src/a.py", ""),
    "disabled": ("disabled = true", "src/a.py", "disabled"),
    "not disabled": ("disabled = false", "src/a.py", ""),
    "a language": ('disabled_filetypes = ["python"]', "src/a.py", "disabled"),
    "an ending": ('disabled_filetypes = ["gen"]', "src/a.GEN", "disabled"),
    "another ending": ('disabled_filetypes = ["gen"]', "src/a.py", ""),
    "a name": ('ignore = ["a.py"]', "src/a.py", "ignored"),
    "a folder": ('ignore = ["src/"]', "src/deep/a.py", "ignored"),
    "from the root of the file": ('ignore = ["/a.py"]', "src/a.py", ""),
    "taken back": ('ignore = ["*.py", "!a.py"]', "src/a.py", ""),
    "unknown keys beside": ('model = "/x"\nignore = ["a.py"]', "src/a.py", "ignored"),
}


@pytest.mark.parametrize(("text", "name", "reason"), CASES.values(), ids=CASES)
def test_a_file_takes_away(tmp_path: Path, text: str, name: str, reason: str) -> None:
    assert refuse(tmp_path, text, name) == reason


def test_all_folders_above_apply(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / FILE_NAME).write_text('ignore = ["a/b/x.py"]')
    (inner / FILE_NAME).write_text("disabled = false")
    assert Workspaces().refuse((str(inner / "x.py"),), "") == "ignored"
    assert Workspaces().refuse((str(inner / "y.py"),), "") == ""


def test_a_link_into_a_disabled_folder_is_disabled(tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    (tmp_path / "off" / FILE_NAME).write_text("disabled = true")
    names = (str(tmp_path / "on" / "a.py"), str(tmp_path / "off" / "a.py"))
    assert Workspaces().refuse(names, "") == "disabled"


def test_no_file_stands_behind_an_unsaved_buffer() -> None:
    assert Workspaces().refuse(("Untitled-1",), "python") == ""


def test_a_change_is_seen_after_a_second_and_no_file_is_looked_at_before(tmp_path: Path) -> None:
    clock = Clock()
    workspaces = Workspaces(clock)
    names = (str(tmp_path / "a.py"),)
    assert workspaces.refuse(names, "") == ""
    (tmp_path / FILE_NAME).write_text("disabled = true")
    clock.now_s = 0.9
    assert workspaces.refuse(names, "") == ""
    clock.now_s = 1.0
    assert workspaces.refuse(names, "") == "disabled"
    (tmp_path / FILE_NAME).unlink()
    clock.now_s = 2.0
    assert workspaces.refuse(names, "") == ""


WRONG = {
    "no TOML": "disabled",
    "not a truth": "disabled = 1",
    "not a list": 'ignore = "a"',
    "not texts": "ignore = [1]",
    "too large": "#" * (65 << 10),
    "deep": "x = " + "[" * 5000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_warned_of_once_and_takes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    workspaces = Workspaces()
    for _ in range(2):
        assert workspaces.refuse((str(tmp_path / "a.py"),), "") == ""
    (warning,) = workspaces.take_warnings()
    said = f"Workspace file `{tmp_path / FILE_NAME}` cannot be read and takes nothing away: "
    assert warning.startswith(said)
    assert workspaces.take_warnings() == []


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_does_not_hang(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / FILE_NAME)
    assert Workspaces().refuse((str(tmp_path / "a.py"),), "") == ""


def test_row_68_more_than_taking_away_is_warned_of(tmp_path: Path) -> None:
    text = 'model = "/evil.gguf"\n[engine]\nthreads = 1\n[env]\nPATH = "."\n'
    (tmp_path / FILE_NAME).write_text(text)
    workspaces = Workspaces()
    assert workspaces.refuse((str(tmp_path / "a.py"),), "") == ""
    assert workspaces.take_warnings() == [
        f"Workspace file `{tmp_path / FILE_NAME}` can ignore files and disable completion,"
        " and not set `engine`, `env`, `model`"
    ]


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_it_says_only_takes_away(tmp_path: Path, said: str | bytes) -> None:
    data = said.encode(errors="surrogatepass") if isinstance(said, str) else said
    (tmp_path / FILE_NAME).write_bytes(data)
    found = Workspaces().refuse((str(tmp_path / "a.py"),), "python")
    assert found in ("", "disabled", "ignored")
