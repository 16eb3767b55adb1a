"""Makes a model file appear complete or not at all: one pull at a time writes a partial file in the
models folder, and moves the file into place at the end."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PARTIAL_PREFIX = ".partial-"


@contextmanager
def only_pull(lock_file: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Holds the only pull. The kernel frees the lock of a process that dies."""
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("waiting for another pull")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def move_durably(made: Path, target: Path) -> None:
    """Moves a file so that after a power failure the target is complete or absent."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(made, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
