"""Seconds counted: a worker that is stuck is ended, and one that nobody has asked for long.

Only seconds in which this loop ran count: after the machine has slept, a worker is not late.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress

from llmd.engine.active_worker import Current
from llmd.engine.supervisor import Life

# How long a worker that owes a word may say nothing before it counts as stuck.
STUCK_S = 10
LOAD_STUCK_S = 600  # a model that is read from a slow disk says nothing for minutes


async def tick(current: Current, life: Life) -> None:
    """Each second while the worker owes a word, else when it may be unloaded, else never."""
    while True:
        current.moved.clear()
        with suppress(TimeoutError):
            if _owes_a_word(current):
                await asyncio.sleep(1)
            else:
                await asyncio.wait_for(current.moved.wait(), _idle_left_s(current, life))
        current.n_silent_s = current.n_silent_s + 1 if is_overdue(current) else 0
        limit_s = LOAD_STUCK_S if current.state == "loading" else STUCK_S
        if current.n_silent_s >= limit_s:
            current.end("stuck")
        elif current.state == "ready" and not current.jobs and _idle_left_s(current, life) == 0:
            current.unload()


def is_overdue(current: Current) -> bool:
    """A request counts once it has been answered without the worker."""
    is_late = current.state == "loading" or current.jobs.is_overdue()
    return _owes_a_word(current) and is_late


def _owes_a_word(current: Current) -> bool:
    """A model, or the end of a request."""
    return current.worker_pid is not None and bool(current.state == "loading" or current.jobs)


def _idle_left_s(current: Current, life: Life) -> float | None:
    """None: never. Whole seconds, so that a clock's rounding does not spin."""
    after_s = life.config.engine.idle_unload_s
    if not after_s or current.state != "ready":
        return None
    left_s = current.used_s + after_s - time.monotonic()
    return max(0.0, math.ceil(left_s))
