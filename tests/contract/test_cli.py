"""The commands, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.py"
    path.write_text("def add(a, b):\n    return \n")
    return path


def test_complete_gives_text_and_trace(daemon: RunningDaemon, sample: Path) -> None:
    done = daemon.llmd("complete", f"{sample}:2:12", "--json")
    answer = json.loads(done.stdout)
    trace = answer["trace"]
    assert answer["text"]
    assert trace["n_prompt"] == trace["n_cached"] + trace["n_prefill"]
    assert daemon.llmd("complete", f"{sample}:2:12").stdout.strip() == answer["text"].strip()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("{file}:2", "is not FILE:LINE:COL"),
        ("{file}:9:1", "Line 9 is outside `{file}`, which has lines 1 to 3"),
        ("{file}:2:40", "Column 40 is outside line 2 of `{file}`, which has columns 1 to 12"),
        ("{folder}:1:1", "is not a file; give a text file"),
        ("{folder}/none.py:1:1", "cannot be read: No such file or directory"),
    ],
)
def test_a_bad_place_is_named_with_exit_code_2(
    daemon: RunningDaemon, sample: Path, place: str, said: str
) -> None:
    names = {"file": str(sample), "folder": str(sample.parent)}
    done = daemon.llmd("complete", place.format(**names))
    assert (done.returncode, done.stdout) == (2, "")
    assert said.format(**names) in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_bytes_are_named(daemon: RunningDaemon, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = '\xff'")
    done = daemon.llmd("complete", f"{tmp_path}/a.py:1:1")
    assert done.returncode == 2
    assert "is not UTF-8 text (byte 5)" in done.stderr


def test_status_fits_a_screen_and_has_the_agreed_keys(daemon: RunningDaemon) -> None:
    assert len(daemon.llmd("status").stdout.splitlines()) <= 24
    found = json.loads(daemon.llmd("status", "--json").stdout)
    for key in ("state", "pid", "worker_pid", "model", "counts", "background", "latency"):
        assert key in found
    assert found["model"]["family"] == "smollm2-fim"
    assert found["model"]["order"] == "spm"
    assert sum(found["counts"]["by_path"].values()) == found["counts"]["requests"]


def test_commands_without_a_daemon_say_so(alone: RunningDaemon) -> None:
    for command in ("status", "stop"):
        done = alone.llmd(command)
        assert (done.returncode, done.stderr.strip()) == (
            1,
            "llmd: No daemon is running; run `llmd start`",
        )


def test_a_bad_config_stops_the_start_with_the_key(alone: RunningDaemon) -> None:
    (alone.folder / "config.toml").write_text("[sampling]\ntemprature = 1\n")
    done = alone.llmd("serve")
    assert done.returncode == 2
    assert "temprature" in done.stderr


def test_version(daemon: RunningDaemon) -> None:
    assert daemon.llmd("--version").stdout == "llmd 0.1.0\n"
