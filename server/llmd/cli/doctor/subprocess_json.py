"""Runs one of our modules in a process of its own, and reads what it printed before it ended."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llmd.processes import FOLDER, child_env, module_command


def run_module(
    module: str, args: Sequence[str], timeout_s: float
) -> tuple[list[dict[str, Any]], str]:
    """Returns the JSON objects that the module printed, and how it ended; empty for a good end."""
    command = module_command(module, *args)
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False,
            cwd=FOLDER,
            env={**child_env(), "GGML_NO_BACKTRACE": "1"},  # ggml would run a debugger for seconds
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return _parse_lines(late.stdout or b""), f"no answer within {timeout_s:g} s"
    except OSError as error:
        return [], f"a process cannot be started: {error.strerror}"
    return _parse_lines(done.stdout), _describe_exit(done.returncode, done.stderr)


def _parse_lines(output: bytes) -> list[dict[str, Any]]:
    values = []
    for line in output.splitlines():
        with suppress(ValueError):
            values.append(json.loads(line))
    return [value for value in values if isinstance(value, dict)]


def _describe_exit(code: int, stderr: bytes) -> str:
    if not code:
        return ""
    if code == -signal.SIGILL:
        return "llama.cpp was built with instructions that this CPU does not have"
    lines = stderr.decode(errors="replace").strip().splitlines() or ["no output"]
    ended = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"{ended}: {lines[-1]}"
