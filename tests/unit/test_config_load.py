"""Tests the sources of a setting, what a change reloads, and how the file is written and read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmd.config import Config
from llmd.config.load import load_settings, needs_reload, report_settings, set_key
from llmd.config.parse import parse
from llmd.errors import BadInput


@pytest.fixture(autouse=True)
def _no_model_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMD_MODEL", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def row(path: Path, key: str, *flags: str) -> tuple[Any, str]:
    rows = report_settings(load_settings(path, flags)).rows
    (match,) = (row for row in rows if row.key == key)
    return match.value, match.source


def test_no_file_means_the_defaults(path: Path) -> None:
    assert load_settings(path).config == Config()
    assert row(path, "model") == ("builtin", "default")


def test_flag_over_environment_over_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text('model = "/a.gguf"\n[completion]\nmax_lines = 2\n')
    assert row(path, "model") == ("/a.gguf", "file")
    monkeypatch.setenv("LLMD_MODEL", "/b.gguf")
    assert row(path, "model") == ("/b.gguf", "environment")
    assert row(path, "model", "model=/c.gguf") == ("/c.gguf", "flag")
    assert row(path, "completion.max_lines", "completion.max_lines=7") == (7, "flag")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("model", "Setting `model` is not KEY=VALUE"),
        ("modell=x", "Setting `modell=x`: `modell` is not a known key; did you mean `model`?"),
        (
            "engine.n_ctx=3",
            "Setting `engine.n_ctx=3`: `engine.n_ctx` is 3, expected a whole number",
        ),
        ("sampling.seed=1\nmodel='x'", "Setting `sampling.seed=1"),
        ("completion.max_lines=" + "9" * 5000, "Setting `completion.max_lines=999"),
        ("completion.max_lines=" + "[" * 9000, "Setting `completion.max_lines=[[["),
        ("model=/\udcff", "Setting `model=/\udcff`: `model` is "),
        ("engine=3", "Setting `engine=3`: `engine` is 3, expected a section"),
    ],
)
def test_an_invalid_flag_is_reported(path: Path, flag: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        load_settings(path, [flag])
    assert str(error.value).startswith(message)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["123", "true", "/a b#c.gguf", "'quoted'"])
def test_a_flag_may_leave_out_the_quotes(path: Path, name: str) -> None:
    assert row(path, "model", f"model={name}") == (name.strip("'"), "flag")


def test_an_environment_that_is_not_utf8_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMD_MODEL", "/\udcff.gguf")
    with pytest.raises(BadInput, match=r"^Environment variable LLMD_MODEL: `model` is "):
        load_settings(path)


RELOADS = {
    "": False,
    "[sampling]\ntemperature = 1.0": False,
    "[completion]\nmax_lines = 1": False,
    "[context]\nn_prefix = 100": False,
    "background = 'off'": False,
    "[engine]\nidle_unload_s = 5": False,
    "model = 'x'": True,
    "[engine]\nn_ctx = 512": True,
    "[fim]\norder = 'psm'": True,
}


@pytest.mark.parametrize(("text", "reloads"), RELOADS.items(), ids=RELOADS)
def test_a_change_costs_a_reload(text: str, reloads: bool) -> None:
    assert needs_reload(Config(), parse(text, "a")) is reloads


def _huge(path: Path) -> None:
    path.write_bytes(b"#" * ((1 << 20) + 1))


def _not_utf8(path: Path) -> None:
    path.write_bytes(b"a\xff")


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a folder": (Path.mkdir, "is not a file; remove it"),
    "a FIFO": (os.mkfifo, "is not a file; remove it"),
    "huge": (_huge, "has 1048577 bytes, expected at most 1048576; check the path"),
    "not UTF-8": (_not_utf8, "is not UTF-8 text (byte 1); convert it"),
}


@pytest.mark.parametrize(("make", "message"), FILES.values(), ids=FILES)
def test_a_path_that_is_not_a_file_is_reported(
    path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(path)
    with pytest.raises(BadInput) as error:
        load_settings(path)
    assert str(error.value) == f"Config `{path}` {message}"


def test_setting_a_key_leaves_the_rest_of_the_file(path: Path) -> None:
    path.write_text("# mine\nmodel = 'a'  # the old one\n\n[engine]\n# little\nn_ctx = 512\n")
    path.chmod(0o640)
    set_key(path, "model", "/b.gguf")
    set_key(path, "engine.threads", 3)
    assert path.read_text() == (
        '# mine\nmodel = "/b.gguf"  # the old one\n\n[engine]\n# little\nn_ctx = 512\nthreads = 3\n'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]


def test_a_new_file_is_private_and_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    set_key(path, "model", "x")
    assert path.read_text() == 'model = "x"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_key_stays_out_of_the_sections(path: Path) -> None:
    path.write_text("[engine]\nn_ctx = 512\n")
    set_key(path, "model", "x")
    assert parse(path.read_text(), "a").model == "x"


def test_a_link_stays_a_link(path: Path) -> None:
    path.symlink_to(path.with_name("dotfiles.toml"))
    set_key(path, "model", "x")
    assert path.is_symlink()
    assert path.read_text() == 'model = "x"\n'


def test_a_broken_file_is_not_written_over(path: Path) -> None:
    path.write_text("model = ")
    with pytest.raises(BadInput, match="is not valid TOML"):
        set_key(path, "model", "x")
    assert path.read_text() == "model = "


LAYOUTS = {
    "inline": "engine = { n_ctx = 512 }\n",
    "dotted": "engine.n_ctx = 512\nmodel = 'a'\n",
    "scattered": "engine.n_ctx = 512\nfim.order = 'psm'\nengine.mmap = true\n",
    "CRLF": "# mine\r\n[engine]\r\nn_ctx = 512\r\n",
    "no end of line": "[engine]\nn_ctx = 512 # little",
    "comment alone": "# mine\n",
}


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_a_key_is_set_in_any_layout(path: Path, text: str) -> None:
    path.write_text(text, newline="")
    old = load_settings(path).config
    set_key(path, "engine.threads", 3)
    new = load_settings(path).config
    assert new.engine.threads == 3
    assert msgspec.structs.replace(new, engine=old.engine) == old
    assert {line.strip() for line in text.split("\n") if "#" in line} <= {
        line.strip() for line in path.read_bytes().decode().split("\n")
    }


@pytest.mark.parametrize(
    ("key", "value"), [("modell", "x"), ("engine.n_ctx", 3), ("model", "/\udcff")]
)
def test_a_wrong_key_or_value_is_not_written(path: Path, key: str, value: Any) -> None:
    with pytest.raises(BadInput, match=rf"^Setting `{key}` is "):
        set_key(path, key, value)
    assert list(path.parent.iterdir()) == []


def test_an_interruption_leaves_the_old_file_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path.write_text("model = 'a'\n")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        set_key(path, "model", "b")
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]
    assert path.read_text() == "model = 'a'\n"


def test_a_folder_that_cannot_be_written_is_reported() -> None:
    with pytest.raises(BadInput, match=r"Config `/proc/x/config.toml` cannot be written: "):
        set_key(Path("/proc/x/config.toml"), "model", "x")
