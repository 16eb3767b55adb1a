"""Defines the errors of llmd. A message has: subject, the value, the expected value, what to do.

LlmdError
├── BadInput      invalid user input: a path, a position, a config key (exit code 2)
├── ModelError    a missing, damaged or unsuitable model
├── EngineError   a failure of the worker or of llama.cpp
│   └── DeviceError   a GPU that evaluates nothing any more until the worker is started again
└── DaemonError   no daemon, or no answer from the daemon
"""

from __future__ import annotations

import errno
import sys
import traceback
from pathlib import PurePath


class LlmdError(Exception):
    """Carries a message for the user.

    Invariant: the message never contains text of an editor's buffer.
    """

    exit_code = 1


class BadInput(LlmdError):  # noqa: N818 - reads better without "Error"
    """Reports invalid user input."""

    exit_code = 2


class ModelError(LlmdError):
    """Reports a missing, damaged or unsuitable model."""


class EngineError(LlmdError):
    """Reports a failure of the worker or of llama.cpp."""


class DeviceError(EngineError):
    """Reports a failure after which a GPU evaluates nothing any more: ggml's backends keep their
    error state until they are made again (ggml, issue 1545), so the worker has to end."""


class DaemonError(LlmdError):
    """Reports that no daemon runs, or that the daemon does not answer."""


def printable(text: str) -> str:
    """Escapes line breaks and control characters, for example of a file name on a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def format_bytes(n_bytes: float) -> str:
    """Returns a size for people, in decimal units: `1.2 GB`, or `140 MB` below 1 GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def os_reason(error: Exception) -> str:
    """Returns why the system refused, or an invalid value's own message. macOS guards ~/Documents,
    ~/Desktop and ~/Downloads by the program that started the daemon, and refuses with EPERM."""
    reason: str = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.errno == errno.EPERM and sys.platform == "darwin":
        reason += (
            " (macOS guards this folder: move the file, or allow the program that started llmd in"
            " System Settings, Privacy & Security, Files and Folders)"
        )
    return reason


def error_location(error: BaseException) -> str:
    """Returns where an error was raised, such as `file.py:12`.

    Use this location instead of the message of a foreign error, which may contain the user's text.
    """
    steps = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(steps[-1].filename).name}:{steps[-1].lineno}" if steps else "?"
