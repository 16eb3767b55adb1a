"""`llmd eval` for real, on three holes with the built-in model."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon, wait_until


@pytest.fixture
def here(models_dir: Path, tmp_path: Path) -> RunningDaemon:
    """Folders of its own; no daemon is started, and none by the evaluation."""
    return RunningDaemon(models_dir, tmp_path)


@pytest.mark.timeout(600)
def test_three_holes(here: RunningDaemon) -> None:
    out = here.folder / "out"
    argv = ["eval", "--limit", "3", "--bare", "--pass", "--out", str(out), "--json"]
    first = here.llmd(*argv, timeout_s=500)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert (found["n_places"], found["is_whole"]) == (3, True)
    assert [(each["name"], each["n"]) for each in found["settings"]] == [("llmd", 3), ("bare", 3)]
    assert found["pairs"][0]["n"] == 3
    assert {"first_line", "whole", "similarity", "passed"} <= found["settings"][0]["metrics"].keys()
    assert ET.fromstring((out / "report.svg").read_text()).tag.endswith("svg")  # noqa: S314 - our own
    assert "| setting" in (out / "report.md").read_text()
    assert json.loads((out / "report.json").read_text()) == found
    assert not (here.folder / "state" / "daemon.lock").exists()
    _goes_on(here, argv, out / "results.jsonl", first.stdout)


def _goes_on(here: RunningDaemon, argv: list[str], results: Path, told: str) -> None:
    """Nothing is asked again, but for the answer that was cut off."""
    whole = results.read_bytes()
    assert whole.count(b"\n") == 6
    assert here.llmd(*argv, timeout_s=500).stdout == told
    assert results.read_bytes() == whole
    results.write_bytes(whole[:-20])
    again = json.loads(here.llmd(*argv, timeout_s=500).stdout)
    now = results.read_bytes()
    assert now.count(b"\n") == 6
    assert now.split(b"\n")[:5] == whole.split(b"\n")[:5]
    assert again["settings"][0] == json.loads(told)["settings"][0]


@pytest.mark.timeout(600)
def test_an_interruption_keeps_what_is_done(here: RunningDaemon) -> None:
    results = here.folder / "out" / "results.jsonl"
    command = [sys.executable, "-m", "llmd", "eval", "--out", str(results.parent)]
    with subprocess.Popen(command, env=here.env, stderr=subprocess.PIPE, text=True) as process:
        wait_until(
            lambda: results.is_file() and results.read_bytes().count(b"\n"), "an answer", 300
        )
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in said
    assert "Traceback" not in said
    assert all(json.loads(line)["place"] for line in results.read_bytes().splitlines())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--set", "nosuch"), "none of single-line, random-span"),
        (("--trace", "/nosuch.json"), "cannot be read"),
        (("--without", "nosuch"), "Rule `nosuch`"),
    ],
    ids=["set", "trace", "rule"],
)
def test_what_is_wrong_is_told_in_a_sentence(
    here: RunningDaemon, argv: tuple[str, ...], said: str
) -> None:
    found = here.llmd("eval", "--limit", "1", *argv)
    assert found.returncode == 2
    assert said in found.stderr
