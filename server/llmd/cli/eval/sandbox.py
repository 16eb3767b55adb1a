"""Runs a program and its tests for pass@1, in a child process (`sandbox_child`) that is killed
together with every process that it started."""

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
_CHILD = Path(__file__).with_name("sandbox_child.py")


def program(case: EvalCase, text: str) -> str:
    """Returns the completed file and its tests, as human-eval-infilling runs them."""
    body = case.before + text + case.after
    return f"{body}\n{case.test}\ncheck({case.entry_point})\n"


def runs_to_end(source: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Returns whether `source` runs to its end. An early exit fails, whatever the exit code."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="llmd-eval-", ignore_cleanup_errors=True) as folder:
        child = subprocess.Popen(  # noqa: S603 - our own file, by our own interpreter
            [sys.executable, "-I", "-S", "-B", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder},
            start_new_session=True,
        )
        sent = f"{token}\n{source}".encode(errors="replace")
        try:
            output, _ = child.communicate(sent, timeout_s)
        except subprocess.TimeoutExpired:
            output = b""
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    return output.decode(errors="replace").strip() == token
