"""Tests what `.llmd.toml` can restrict, and that it can do nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmd.context.workspace_rules import FILE_NAME, Workspaces


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def refuse(folder: Path, text: str, name: str = "src/a.py", language: str = "python") -> str:
    (folder / FILE_NAME).write_text(text)
    return Workspaces().skip_reason((str(folder / name),), language)


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
    "a bad pattern beside": ('ignore = ["!", "a.py"]', "src/a.py", "ignored"),
    "a long pattern beside": (f'ignore = ["{"x" * 300}", "a.py"]', "src/a.py", "ignored"),
    "a wrong key beside": ('disabled = 1\nignore = ["a.py"]', "src/a.py", "ignored"),
    "dots in texts": (f'ignore = ["{"a." * 30}", "a.py"] # {"a." * 30}', "src/a.py", "ignored"),
    "unknown keys beside": ('model = "/x"\nignore = ["a.py"]', "src/a.py", "ignored"),
}


@pytest.mark.parametrize(("text", "name", "reason"), CASES.values(), ids=CASES)
def test_a_file_restricts_completion(tmp_path: Path, text: str, name: str, reason: str) -> None:
    assert refuse(tmp_path, text, name) == reason


def test_all_folders_above_apply(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / FILE_NAME).write_text('ignore = ["a/b/x.py"]')
    (inner / FILE_NAME).write_text("disabled = false")
    assert Workspaces().skip_reason((str(inner / "x.py"),), "") == "ignored"
    assert Workspaces().skip_reason((str(inner / "y.py"),), "") == ""


def test_a_link_into_a_disabled_folder_is_disabled(tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    (tmp_path / "off" / FILE_NAME).write_text("disabled = true")
    names = (str(tmp_path / "on" / "a.py"), str(tmp_path / "off" / "a.py"))
    assert Workspaces().skip_reason(names, "") == "disabled"


def test_an_unsaved_buffer_has_no_file() -> None:
    assert Workspaces().skip_reason(("Untitled-1",), "python") == ""


def test_a_change_is_seen_after_a_second_and_no_file_is_looked_at_before(tmp_path: Path) -> None:
    clock = Clock()
    workspaces = Workspaces(clock=clock)
    names = (str(tmp_path / "a.py"),)
    assert workspaces.skip_reason(names, "") == ""
    (tmp_path / FILE_NAME).write_text("disabled = true")
    clock.now_s = 0.9
    assert workspaces.skip_reason(names, "") == ""
    clock.now_s = 1.0
    assert workspaces.skip_reason(names, "") == "disabled"
    (tmp_path / FILE_NAME).unlink()
    clock.now_s = 2.0
    assert workspaces.skip_reason(names, "") == ""


def test_a_path_too_costly_to_judge_is_ignored(tmp_path: Path) -> None:
    """Without the limit, `*a*a*a*a*a*a*b` and a long name would block the daemon for hours."""
    text = f'ignore = ["{"*a" * 6}*b"]'
    assert refuse(tmp_path, text, "a" * 200) == "ignored"
    assert refuse(tmp_path, text, "c.py") == ""


def test_a_usual_list_is_never_too_costly(tmp_path: Path) -> None:
    patterns = ["**/*test*/**", "*_pb2*.py*", "vendor/", "*.gen.*", "docs/**/*.md"] * 20
    name = "services/frontend/source/components/deeply/nested/some_quite_long_file_name.spec.tsx"
    assert refuse(tmp_path, f"ignore = {patterns}", name) == ""


def test_only_so_many_patterns_are_used(tmp_path: Path) -> None:
    patterns = [f"{idx}.py" for idx in range(501)]
    assert refuse(tmp_path, f"ignore = {patterns}", "499.py") == "ignored"
    assert refuse(tmp_path, f"ignore = {patterns}", "500.py") == ""


def test_a_deep_path_is_looked_at_in_part_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    workspaces = Workspaces(clock=Clock())
    monkeypatch.setattr("llmd.context.workspace_rules.fingerprint", looked.append)
    for _ in range(2):
        assert workspaces.skip_reason(("/a" * 2000 + "/a.py", "/b" * 2000 + "/a.py"), "") == ""
    assert len(looked) == 2 * 128


def test_nothing_above_the_home_folder_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (tmp_path / FILE_NAME).write_text("disabled = true")
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    names = (str(tmp_path / "link" / "x" / "a.py"), str(tmp_path / "home" / "x" / "a.py"))
    assert Workspaces().skip_reason(names, "") == ""
    (tmp_path / "home" / FILE_NAME).write_text("disabled = true")
    assert Workspaces().skip_reason(names, "") == "disabled"


ODD = {
    "none": (),
    "NUL": ("/a\0/b.py",),
    "not UTF-8": ("/a\udcff/b.py",),
    "too long": ("/" + "a" * 5000,),
    "unsaved, from the working folder": ("Untitled-1", os.path.abspath("Untitled-1")),
}


@pytest.mark.parametrize("names", ODD.values(), ids=ODD)
def test_an_odd_name_is_not_refused(names: tuple[str, ...]) -> None:
    assert Workspaces().skip_reason(names, "python") == ""


PART = {
    "not a boolean": ("disabled = 1", "has an invalid `disabled`, expected true or false"),
    "not a list": ('ignore = "a"', "has an invalid `ignore`, expected a list of strings"),
    "not strings": ("ignore = [1]", "has an invalid `ignore`, expected a list of strings"),
    "not a pattern": ('ignore = ["!"]', "has 1 invalid or surplus patterns in `ignore`"),
}


@pytest.mark.parametrize(("text", "message"), PART.values(), ids=PART)
def test_an_invalid_key_gives_a_warning_and_no_restriction(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    warnings: list[str] = []
    workspaces = Workspaces(warnings.append)
    assert workspaces.skip_reason((str(tmp_path / "a.py"),), "") == ""
    assert warnings == [f"Workspace file `{tmp_path / FILE_NAME}` {message}"]


DOTS = ".a" * 20000
WRONG = {
    "no TOML": "disabled",
    "a key of many parts": f"a{DOTS} = 1",
    "a key of many parts, inside": f"a = {{ b = '''c'd''', a{DOTS} = 1, e = '' }}",
    "many digits": "a = " + "9" * 5000,
    "too large": "#" * (65 << 10),
    "deep": "x = " + "[" * 5000,
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_an_invalid_file_gives_one_warning_and_disables_its_folder(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    warnings: list[str] = []
    workspaces = Workspaces(warnings.append)
    for _ in range(2):
        assert workspaces.skip_reason((str(tmp_path / "a.py"),), "") == "disabled"
    (warning,) = warnings
    start = f"Workspace file `{tmp_path / FILE_NAME}` cannot be read, so its folder is disabled: "
    assert warning.startswith(start)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_or_fifo_gives_a_warning_and_does_not_block(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / FILE_NAME)
    warnings: list[str] = []
    workspaces = Workspaces(warnings.append)
    assert workspaces.skip_reason((str(tmp_path / "a.py"),), "") == "disabled"
    assert _n_open_on(tmp_path / FILE_NAME) == 0
    (warning,) = warnings
    assert warning.endswith("its folder is disabled: the path is not a regular file")


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_file_that_became_invalid_keeps_its_last_good_rules(tmp_path: Path, text: str) -> None:
    now_s, warnings = [0.0], list[str]()
    workspaces = Workspaces(warnings.append, lambda: now_s[0])
    names = (str(tmp_path / "a.py"),), (str(tmp_path / "a.txt"),)
    for content, expected in (
        (None, ["", ""]),
        ('ignore = ["*.txt"]\n', ["", "ignored"]),
        (text, ["", "ignored"]),
        ("", ["", ""]),
    ):
        if content is not None:
            (tmp_path / FILE_NAME).write_text(content)
        now_s[0] += 10
        assert [workspaces.skip_reason(each, "") for each in names] == expected
    (warning,) = warnings
    assert "cannot be read, so its last good rules hold" in warning


def test_a_file_that_begins_invalid_disables_its_folder_from_then_on(tmp_path: Path) -> None:
    now_s = [0.0]
    workspaces = Workspaces(clock=lambda: now_s[0])
    names = (str(tmp_path / "a.py"),)
    assert workspaces.skip_reason(names, "") == ""
    (tmp_path / FILE_NAME).write_text("ignore = [")
    now_s[0] += 10
    assert workspaces.skip_reason(names, "") == "disabled"
    (tmp_path / FILE_NAME).write_text("ignore = [[")
    now_s[0] += 10
    assert workspaces.skip_reason(names, "") == "disabled"


def _n_open_on(path: Path) -> int:
    n_open = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the descriptor of /dev/fd itself is closed by now
            n_open += os.path.samestat(os.fstat(int(name)), path.stat())
    return n_open


def test_row_68_other_keys_give_a_warning(tmp_path: Path) -> None:
    text = 'model = "/evil.gguf"\n[engine]\nthreads = 1\n[env]\nPATH = "."\n'
    (tmp_path / FILE_NAME).write_text(text)
    warnings: list[str] = []
    workspaces = Workspaces(warnings.append)
    assert workspaces.skip_reason((str(tmp_path / "a.py"),), "") == ""
    assert warnings == [
        f"Workspace file `{tmp_path / FILE_NAME}` can only ignore files and disable completion;"
        " it cannot set `engine`, `env`, `model`"
    ]


@given(st.text(max_size=200) | st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_can_only_restrict(tmp_path: Path, content: str | bytes) -> None:
    data = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    (tmp_path / FILE_NAME).write_bytes(data)
    reason = Workspaces().skip_reason((str(tmp_path / "a.py"),), "python")
    assert reason in ("", "disabled", "ignored")
