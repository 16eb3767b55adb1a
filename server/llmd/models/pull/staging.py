"""How a model's file appears whole or not at all: one pull at a time makes it beside its place,
and moves it there at the end."""

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
    """After a power cut there is the whole file or none."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(made, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def run_concurrently(jobs: Sequence[Callable[[], None]], n_at_once: int) -> None:
    """Does all of them, some at the same time; raises the first error that comes. The threads are
    nobody's to wait for: an error, Ctrl-C or SIGTERM leaves them to the end of the process."""
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
