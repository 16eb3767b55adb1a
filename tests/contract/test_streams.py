"""Tests commands whose streams or folder are not there: no traceback, and the right exit code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.daemon import RunningDaemon

from llmd.transport.framing import build_message, frame

LLMD = str(Path(sys.executable).parent / "llmd")
COMMANDS = ("--version", "config", "models", "path socket", "doctor", "status", "use nothing")
REDIRECTIONS = ("<&-", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full", "2> /dev/full",
                "> /dev/full 2>&1")  # fmt: skip


@pytest.mark.parametrize("redirection", REDIRECTIONS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_a_stream(alone: RunningDaemon, command: str, redirection: str) -> None:
    line = f"{shlex.quote(LLMD)} {command} {redirection}"
    done = subprocess.run(
        ["/bin/bash", "-c", line], env=alone.env, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    is_full = "> /dev/full" in redirection and not redirection.startswith("2")
    is_full = is_full and command != "--version"  # argparse says nothing of it
    fails = is_full or command in ("doctor", "status", "use nothing")
    assert done.returncode in ((1, 2) if fails else (0,)), done
    if is_full and "2>" not in redirection and command == "config":
        assert done.stderr == "llmd: The output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_a_folder_that_was_removed(
    alone: RunningDaemon, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    line = f"cd {shlex.quote(str(folder))} && rmdir {shlex.quote(str(folder))} && exec"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{line} {shlex.quote(LLMD)} {command}"],
        env=alone.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1, 2)


def test_the_bridge_serves_without_standard_error(daemon: RunningDaemon) -> None:
    line = f"exec {shlex.quote(LLMD)} lsp 2>&-"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["/bin/bash", "-c", line], env=daemon.env, stdin=pipe, stdout=pipe
    ) as one:
        assert one.stdin
        assert one.stdout
        one.stdin.write(
            frame(build_message(id=1, method="initialize", params={"capabilities": {}}))
        )
        one.stdin.flush()
        answer = os.read(one.stdout.fileno(), 1 << 16).partition(b"\r\n\r\n")[2]
        assert json.loads(answer)["result"]["capabilities"]
        one.stdin.close()
