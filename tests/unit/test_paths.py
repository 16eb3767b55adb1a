"""Tests where files are stored, and that private folders belong to the user alone."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from llmd import paths
from llmd.errors import BadInput, DaemonError

VARIABLES = ("XDG_RUNTIME_DIR", "LLMD_RUNTIME_DIR", "LLMD_CONFIG", "LLMD_MODELS_DIR")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LLMD_STATE_DIR", "/s")


def fake_run_user(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def path(text: str) -> Path:
        return folder if str(text).startswith("/run/user/") else Path(text)

    monkeypatch.setattr(paths, "Path", path)
    monkeypatch.setattr(paths.sys, "platform", "linux")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LLMD_RUNTIME_DIR": "/l", "XDG_RUNTIME_DIR": "/x"}, "/l"),
        ({"XDG_RUNTIME_DIR": "/x"}, "/x/llmd"),
        ({"LLMD_RUNTIME_DIR": "", "XDG_RUNTIME_DIR": ""}, "/s/run"),
        ({"XDG_RUNTIME_DIR": "relative/run"}, "/s/run"),
        ({}, "/s/run"),
    ],
)
def test_the_runtime_folder_is_the_first_that_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    fake_run_user(monkeypatch, Path("/none"))
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert paths.runtime_dir() == Path(expected)


def test_the_systems_folder_of_the_user_comes_before_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_run_user(monkeypatch, tmp_path)
    assert paths.runtime_dir() == tmp_path / "llmd"


def test_a_folder_of_another_user_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_run_user(monkeypatch, tmp_path)
    monkeypatch.setattr(paths.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert paths.runtime_dir() == Path("/s/run")


def test_socket_lock_and_log_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMD_RUNTIME_DIR", "/l")
    assert paths.socket_path() == Path("/l/daemon.sock")
    assert (paths.lock_path(), paths.log_path()) == (Path("/s/daemon.lock"), Path("/s/llmd.log"))


@pytest.mark.parametrize(("n_bytes", "is_refused"), [(103, False), (104, True)])
def test_a_socket_path_that_the_kernel_would_cut_is_refused(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int, is_refused: bool
) -> None:
    folder = "/" + "é" * 3 + "x" * (n_bytes - 7 - len("/daemon.sock"))
    monkeypatch.setenv("LLMD_RUNTIME_DIR", folder)
    if not is_refused:
        assert len(os.fsencode(paths.socket_path())) == n_bytes
        return
    with pytest.raises(BadInput, match=r"104 bytes, expected at most 103; set LLMD_RUNTIME_DIR"):
        paths.socket_path()


def test_config_and_models_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.config_path().name == "config.toml"
    assert paths.models_dir().name == "models"
    monkeypatch.setenv("LLMD_CONFIG", "/c/my.toml")
    monkeypatch.setenv("LLMD_MODELS_DIR", "/m")
    assert (paths.config_path(), paths.models_dir()) == (Path("/c/my.toml"), Path("/m"))


def test_a_private_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    made = paths.private_dir(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    assert paths.private_dir(made) == made


@pytest.mark.parametrize("mode", [0o710, 0o755, 0o701, 0o777])
def test_a_folder_that_others_may_enter_becomes_private(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    assert paths.private_dir(tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_a_mode_that_cannot_be_changed_is_told_with_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "Application Support"
    folder.mkdir(mode=0o755)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(paths.os, "fchmod", refuse)
    with pytest.raises(DaemonError, match="has mode 0755, expected 0700") as error:
        paths.private_dir(folder)
    command = str(error.value).rpartition("run `")[2].removesuffix("`")
    assert shlex.split(command) == ["chmod", "700", str(folder)]


def test_the_home_folder_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(DaemonError, match="expected 0700; run `chmod 700"):
        paths.private_dir(home)
    assert home.stat().st_mode & 0o777 == 0o755


ALIKE = ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")


@pytest.mark.parametrize(
    ("shared", "expected"),
    [(ALIKE, "/x/llmd/state"), (ALIKE[:2], "/x/llmd/state"), (ALIKE[1:], "/x/llmd/state"),
     (ALIKE[1:2], "/x/llmd")],
)  # fmt: skip
def test_the_state_has_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, shared: tuple[str, ...], expected: str
) -> None:
    monkeypatch.delenv("LLMD_STATE_DIR")
    for variable in ALIKE:
        monkeypatch.setenv(variable, "/x" if variable in shared else f"/{variable}")
    assert paths.state_dir() == Path(expected)
    assert paths.state_dir() not in (paths.models_dir().parent, paths.config_path().parent)


@pytest.mark.parametrize("target", ["folder", "missing"])
def test_a_link_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "a").symlink_to(tmp_path / target)
    with pytest.raises(DaemonError, match=r"is a link or a file, expected a folder; remove it$"):
        paths.private_dir(tmp_path / "a")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(DaemonError, match=r"is a link or a file, expected a folder; remove it$"):
        paths.private_dir(tmp_path / "a")


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(
        DaemonError, match=r"a/b` cannot be created: Not a directory; set LLMD_STATE_DIR"
    ):
        paths.private_dir(tmp_path / "a" / "b")


def test_a_folder_of_another_users_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    uid = tmp_path.stat().st_uid
    monkeypatch.setattr(paths.os, "getuid", lambda: uid + 1)
    with pytest.raises(DaemonError, match=rf"belongs to uid {uid}, not to you"):
        paths.private_dir(tmp_path / "a")
