"""Ends a worker that hangs, and unloads a model that has been idle for long.

Only seconds in which the event loop ran are counted: after the machine has slept, a worker is not
late.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress

from llmd.engine.active_worker import ActiveWorker
from llmd.engine.supervisor import Supervisor

# A worker counts as hung if a request was cancelled and the worker has sent nothing for so long.
STUCK_S = 10
LOAD_STUCK_S = 600  # a model that is read from a slow disk sends nothing for minutes


async def watchdog(active: ActiveWorker, supervisor: Supervisor) -> None:
    """Looks each second while the worker has outstanding work, else when the model may become
    idle, else only after activity."""
    while True:
        active.activity.clear()
        with suppress(TimeoutError):
            if _has_outstanding_work(active):
                await asyncio.sleep(1)
            else:
                await asyncio.wait_for(active.activity.wait(), _idle_left_s(active, supervisor))
        active.silent_s = active.silent_s + 1 if is_unresponsive(active) else 0
        limit_s = LOAD_STUCK_S if active.state == "loading" else STUCK_S
        if active.silent_s >= limit_s:
            active.end("stuck")
        elif not active.requests and _idle_left_s(active, supervisor) == 0:
            active.unload()


def is_unresponsive(active: ActiveWorker) -> bool:
    """Returns whether the worker should send something soon: the progress of a load, or the end of
    a cancelled request."""
    is_due = active.state == "loading" or active.requests.has_cancelled()
    return _has_outstanding_work(active) and is_due


def _has_outstanding_work(active: ActiveWorker) -> bool:
    is_busy = active.state == "loading" or bool(active.requests)
    return active.worker_pid is not None and is_busy


def _idle_left_s(active: ActiveWorker, supervisor: Supervisor) -> float | None:
    """Returns the seconds until a loaded model counts as idle; None: never. Whole seconds, so that
    the rounding of a clock does not make the watchdog spin."""
    limit_s = supervisor.config.engine.idle_unload_s
    if not limit_s or active.state != "ready":
        return None
    return max(0.0, math.ceil(active.used_s + limit_s - time.monotonic()))
