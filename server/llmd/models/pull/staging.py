"""Makes a model file appear complete or not at all: one pull at a time writes a partial file in the
models folder, and moves the file into place at the end."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from llmd import paths
from llmd.files import hold_lock, is_locked

PARTIAL_PREFIX = ".partial-"
# Regular expressions of what a pull leaves: a part of a file of the hub, a folder of `builtin`.
PARTIAL_FILE = re.escape(PARTIAL_PREFIX) + r"[0-9a-f]{12}-.+"
PARTIAL_FOLDER = re.escape(PARTIAL_PREFIX) + r"[a-z0-9_]{8}"
PULL_LOCK_FILE = ".pull.lock"


def only_pull(on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
    """Holds the lock of the models folder, so that one pull runs at a time."""
    return hold_lock(_lock_path(), on_wait=lambda: on_wait("waiting for another pull"))


def is_being_pulled() -> bool:
    """Returns whether a `llmd pull` holds the lock of the models folder."""
    return is_locked(_lock_path())


def _lock_path() -> Path:
    return paths.models_dir() / PULL_LOCK_FILE


def run_concurrently(jobs: Sequence[Callable[[], None]], n_at_once: int) -> None:
    """Runs all jobs in up to `n_at_once` threads, and raises the first error.

    Does not wait for the other threads after an error, Ctrl-C or SIGTERM: the process ends them.
    """
    if len(jobs) == 1:
        jobs[0]()
        return
    left: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for job in jobs:
        left.put(job)

    def work() -> None:
        while True:
            try:
                job = left.get_nowait()
            except queue.Empty:
                break
            try:
                job()
            except BaseException as error:
                done.put(error)
                break
            done.put(None)

    for _ in range(min(n_at_once, len(jobs))):
        threading.Thread(target=work, name="pull", daemon=True).start()
    for _ in jobs:
        if error := done.get():
            raise error
