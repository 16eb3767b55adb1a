"""Tests that a process is known again before it is killed, and that machines and containers that
share a home each have their own state."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from llmd import paths, processes
from llmd.errors import BadInput
from llmd.files import hold_lock
from llmd.processes import (
    ProcessIdentity,
    kill,
    own_identity,
    parse_identity,
    place_name,
    started_at,
)


@pytest.fixture(autouse=True)
def _this_machine() -> None:
    """Forgets what a test under another platform's name has read."""
    processes.boot_id.cache_clear()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A stranger's process."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def identity_of(pid: int) -> ProcessIdentity:
    return replace(own_identity(), pid=pid, started=started_at(pid))


def test_the_process_that_is_meant_is_killed(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    assert identity.is_running_here()
    kill(identity)
    assert child.wait(10) == -9


@pytest.mark.parametrize(
    "other", [{"host": "elsewhere"}, {"boot": "b"}, {"pid_space": "-1"}, {"started": ""}]
)
def test_a_process_elsewhere_is_not_running_here(
    child: subprocess.Popen[bytes], other: dict[str, str]
) -> None:
    assert not replace(identity_of(child.pid), **other).is_running_here()  # type: ignore[arg-type]


def test_a_pid_that_became_another_s_is_not_killed(child: subprocess.Popen[bytes]) -> None:
    reused = replace(identity_of(child.pid), started="1")
    assert not reused.is_running_here()
    kill(reused)
    assert child.poll() is None


def test_a_process_that_has_gone_is_no_error(child: subprocess.Popen[bytes]) -> None:
    identity = identity_of(child.pid)
    child.kill()
    child.wait()
    kill(identity)
    assert started_at(child.pid) == ""


@pytest.mark.parametrize(
    "change",
    [{"pid": 1}, {"pid": 0}, {"pid": -1}, {"pid": "7"}, {"pid": True}, {"host": None},
     {"boot": 3}, {"started": []}],
)  # fmt: skip
def test_what_is_no_identity_is_none(change: dict[str, Any]) -> None:
    row = asdict(own_identity())
    assert parse_identity(row) == own_identity()
    assert parse_identity(row | change) is None
    assert parse_identity({key: row[key] for key in row if key not in change}) is None


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LLMD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LLMD_RUNTIME_DIR", str(tmp_path / "r"))
    paths._state_of_this_machine.cache_clear()
    yield tmp_path
    paths._state_of_this_machine.cache_clear()


@pytest.mark.parametrize(
    ("change", "is_held", "is_shared"),
    [
        ({}, True, True),
        ({}, False, True),
        ({"boot": "b"}, True, True),  # rebooted since
        ({"host": "new-name"}, True, True),  # a laptop in another network
        ({"host": "desk", "boot": "b"}, False, False),  # another machine
        ({"pid_space": "-7"}, True, False),  # a container beside
        ({"pid_space": "-7"}, False, True),  # a container that has gone
    ],
)
def test_each_machine_and_container_has_its_own_state(
    state: Path, change: dict[str, str], is_held: bool, is_shared: bool
) -> None:
    lock = state / paths.LOCK_FILE
    lock.write_text(json.dumps(asdict(replace(own_identity(), **change))))  # type: ignore[arg-type]
    with hold_lock(lock) if is_held else open(lock):
        own = paths.state_dir()
    place = state / f"host-{place_name()}"
    assert own == (state if is_shared else place)
    assert paths.runtime_dir() == (state / "r" if is_shared else place / "run")
    assert paths.lock_path().parent == paths.log_path().parent == own


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 7, "socket": "/s"}', '"x"'])
def test_a_lock_that_says_nothing_is_ours(state: Path, text: str) -> None:
    (state / paths.LOCK_FILE).write_text(text)
    assert paths.state_dir() == state


def test_a_state_of_one_s_own_is_found_again(state: Path) -> None:
    own = state / f"host-{place_name()}"
    own.mkdir()
    assert paths.state_dir() == own


@pytest.mark.parametrize("home", [None, "", ".", "relative/home", "~"])
def test_without_a_home_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LLMD_CONFIG",
                     "LLMD_MODELS_DIR", "LLMD_STATE_DIR"):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.chdir(tmp_path)
    for path in (paths.state_dir, paths.models_dir, paths.config_path):
        with pytest.raises(BadInput, match=r"HOME is not set .* LLMD_STATE_DIR"):
            path()
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    assert paths.config_path() == Path("/c/llmd/config.toml")
    assert list(tmp_path.iterdir()) == []


def test_the_boot_and_the_pid_space_are_of_this_machine() -> None:
    assert len(processes.boot_id()) > 10
    assert own_identity().started
