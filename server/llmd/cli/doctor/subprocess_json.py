"""A module of ours in a process of its own, and what it printed before it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# ggml would run a debugger when it aborts, which takes seconds.
_QUIET_ABORT = {"GGML_NO_BACKTRACE": "1"}


def ask(module: str, args: Sequence[str], timeout_s: float) -> tuple[list[dict[str, Any]], str]:
    """Its lines of JSON, and why it ended before its end; empty where it did not."""
    command = [sys.executable, "-m", module, *args]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
            env={**os.environ, **_QUIET_ABORT},
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return _lines(late.stdout or b""), f"no answer within {timeout_s:g} s"
    except OSError as error:
        return [], f"no process can be made: {error.strerror}"
    return _lines(done.stdout), _how_it_ended(done.returncode, done.stderr)


def _lines(said: bytes) -> list[dict[str, Any]]:
    found = []
    for line in said.splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return [each for each in found if isinstance(each, dict)]


def _how_it_ended(code: int, words: bytes) -> str:
    if not code:
        return ""
    if code == -signal.SIGILL:
        return "it holds instructions that this CPU does not have"
    last = words.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"{ended}: {last[0]}"
