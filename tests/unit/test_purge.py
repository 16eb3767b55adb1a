"""Tests that a purge removes what llmd made and nothing else, wherever its folders are."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from llmd import paths
from llmd.cli import purge
from llmd.models.pulled_files import LEDGER_FILE
from llmd.models.resolve import BUILTIN_FILE

VARIABLES = ("LLMD_CONFIG", "LLMD_MODELS_DIR", "LLMD_STATE_DIR", "LLMD_RUNTIME_DIR")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One folder for all that llmd has, beside a file of the user's."""
    folder = tmp_path / "home"
    folder.mkdir()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(folder))
    monkeypatch.setenv("LLMD_CONFIG", str(folder / "config.toml"))
    (folder / "thesis.tex").write_text("years of work")
    return folder


def ledger(home: Path, *names: str) -> None:
    rows = [{"path": name, "sha256": "0", "n_bytes": 1} for name in names]
    (home / LEDGER_FILE).write_text(json.dumps(rows))


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def purge_all() -> purge.Inventory:
    found = purge.inventory()
    purge.remove(found)
    return found


def test_what_llmd_made_goes_and_the_rest_stays(home: Path) -> None:
    ledger(home, "hf/ann/tiny/a.gguf")
    ours = [home / LEDGER_FILE, write(home / BUILTIN_FILE), write(home / "daemon.lock"),
            write(home / "llmd.log"), write(home / "llmd.log.1"), write(home / "config.toml"),
            write(home / "outcomes.json"), write(home / "outcomes.json.broken"),
            write(home / "hf/ann/tiny/a.gguf"),
            write(home / "hf/ann/b/.partial-0123456789ab-c.gguf"),
            write(home / ".partial-abcd_123/base.gguf")]  # fmt: skip
    theirs = [home / "thesis.tex", write(home / "hf/ann/tiny/mine.gguf"),
              write(home / "outcomes.json.mine"), write(home / ".partial-thoughts/notes"),
              write(home / "hf/.partial-mine-x"), write(home / "llmd.log.9")]  # fmt: skip
    found = purge_all()
    assert {each.path for each in found.owned} == set(ours)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in theirs)
    assert set(found.left) == {home / "hf/ann/tiny/mine.gguf", home / "hf/.partial-mine-x"}
    assert not (home / "hf/ann/b").exists()


def folder_at(path: Path) -> None:
    write(path / "inside")


def fifo_at(path: Path) -> None:
    os.mkfifo(path)


def socket_at(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("make", [folder_at, fifo_at, socket_at])
@pytest.mark.parametrize(
    "name",
    ["config.toml", BUILTIN_FILE, LEDGER_FILE, ".pull.lock", "llmd.log", "llmd.log.2",
     "daemon.lock", "speeds.json", "outcomes.json", "outcomes.json.broken"],
)  # fmt: skip
def test_what_is_no_file_is_named_and_left(
    home: Path, make: Callable[[Path], None], name: str
) -> None:
    make(home / name)
    found = purge_all()
    assert found.owned == ()
    assert found.left == (home / name,)
    assert (home / name).exists()
    assert str(home / name) in purge.listing(found)


def test_the_config_may_be_named_as_a_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMD_CONFIG", str(home))
    assert home in purge_all().left
    assert (home / "thesis.tex").exists()


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../outside.gguf", "hf/../../outside.gguf", "hf/link/x.gguf"]
)
def test_a_record_that_leads_elsewhere_removes_nothing(home: Path, name: str) -> None:
    outside = write(home.parent / "outside.gguf")
    inside_link = write(home.parent / "elsewhere" / "x.gguf")
    (home / "hf").mkdir()
    (home / "hf" / "link").symlink_to(inside_link.parent)
    ledger(home, name)
    assert [each.path for each in purge_all().owned] == [home / LEDGER_FILE]
    assert outside.exists()
    assert inside_link.exists()


def test_links_go_and_what_they_point_at_stays(home: Path) -> None:
    target = write(home.parent / "dotfiles" / "config.toml")
    (home / "config.toml").symlink_to(target)
    (home / "llmd.log").symlink_to(home.parent / "dotfiles")
    purge_all()
    assert target.exists()
    assert not (home / "config.toml").is_symlink()
    assert not (home / "llmd.log").is_symlink()


def test_the_daemon_s_socket_goes(home: Path) -> None:
    socket_at(home / paths.SOCKET_FILE)
    assert [each.path.name for each in purge_all().owned] == [paths.SOCKET_FILE]
    assert not (home / paths.SOCKET_FILE).exists()


def test_a_long_list_is_folded_and_hostile_names_are_printable(home: Path) -> None:
    names = [f"hf/ann/many/{n:02}.gguf" for n in range(30)]
    for name in names:
        write(home / name)
    write(home / "hf/ann/many/\x1b[2J.gguf")
    ledger(home, *names)
    text = purge.listing(purge.inventory())
    assert "and 11 more files, 0.0 MiB" in text  # 30, and the ledger
    assert "\x1b" not in text
    assert "\\x1b[2J" in text
