"""Sets up the daemon's log: rotated, readable by its user only, silent when it cannot be written.

No buffer text is ever logged. Text from outside is escaped, so that a file name cannot forge a line
of the log or send an escape sequence to a terminal.
"""

from __future__ import annotations

import io
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from llmd.errors import printable

MAX_BYTES = 1 << 20
N_KEPT = 2  # older files: llmd.log.1 and .2
_FLAGS = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(self.baseFilename, _FLAGS, 0o600)
        return io.TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8")


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class LastError(logging.Handler):
    """Keeps the latest error for the status."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""
        self.at_s = 0.0  # seconds since the epoch

    def emit(self, record: logging.LogRecord) -> None:
        self.text, self.at_s = record.getMessage(), record.created


def start(path: Path, to_stderr: bool) -> LastError:
    """Starts logging to `path`, and to standard error if `to_stderr`."""
    logging.raiseExceptions = False  # a full disk loses lines of the log, nothing else
    last_error = LastError()
    handlers: list[logging.Handler] = [logging.StreamHandler()] if to_stderr else []
    try:
        handlers.append(_PrivateFile(path, maxBytes=MAX_BYTES, backupCount=N_KEPT, delay=True))
    except OSError as error:
        logging.getLogger("llmd").error("Log `%s` cannot be written: %s", path, error.strerror)
    for handler in handlers:
        handler.setFormatter(_OneLine(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    # Not to the root: a library's messages are templates.
    logging.getLogger("llmd").addHandler(last_error)
    return last_error
