"""pass@1: whether a program with a suggestion in it passes its tests. Each in a child process of
its own (see `caged`), which is killed with all that it started."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from llmd.cli.eval.cases import EvalCase

TIMEOUT_S = 30.0
_CAGE = Path(__file__).with_name("sandbox_child.py")


def program(place: EvalCase, text: str) -> str:
    """The file as it would be, then its tests, as human-eval-infilling runs them."""
    body = place.before + text + place.after
    return f"{body}\n{place.test}\ncheck({place.entry_point})\n"


def runs_to_end(source: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether `source` runs to its end. Leaving early is not passing, whatever the exit code."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="llmd-eval-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(  # noqa: S603 - our own file, by our own interpreter
            [sys.executable, "-I", "-S", "-B", str(_CAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder},
            start_new_session=True,
        )
        sent = f"{token}\n{source}".encode(errors="replace")
        try:
            said, _ = child.communicate(sent, timeout_s)
        except subprocess.TimeoutExpired:
            said = b""
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    return said.decode(errors="replace").strip() == token
