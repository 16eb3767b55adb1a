"""What llmd says when something is wrong: subject, what was got, what was expected, what to do.

LlmdError
├── BadInput      the user's own input: a path, a position, a config key (exit 2)
├── ModelError    a model that is missing, broken or unsuitable
├── EngineError   the worker, or llama.cpp in it
└── DaemonError   no daemon, or one that does not answer
"""

from __future__ import annotations

import traceback
from pathlib import PurePath


class LlmdError(Exception):
    """A sentence for a person. It never carries buffer text."""

    exit_code = 1


class BadInput(LlmdError):  # noqa: N818 - named for what it is, not for being an error
    """The user's own input is wrong."""

    exit_code = 2


class ModelError(LlmdError):
    """A model is missing, broken or unsuitable."""


class EngineError(LlmdError):
    """The worker, or llama.cpp in it, failed."""


class DaemonError(LlmdError):
    """There is no daemon, or it does not answer."""


def printable(text: str) -> str:
    """On one line and without a terminal's escape sequences, whatever a file's name holds."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def format_bytes(n_bytes: float) -> str:
    """Returns a size for people, in decimal units: `1.2 GB`, or `140 MB` below 1 GB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def error_location(error: BaseException) -> str:
    """`file.py:12`, where it was raised. Its words are not told: they may hold what one wrote."""
    steps = traceback.extract_tb(error.__traceback__)
    return f"{PurePath(steps[-1].filename).name}:{steps[-1].lineno}" if steps else "?"
