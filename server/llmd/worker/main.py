"""Is the entry point of the worker process: `python -m llmd.worker.main SOCKET_FD FLAGS_FD`.

Loads llama.cpp only when the daemon can be told why that fails: a build for a GPU cannot be loaded
without the GPU's driver, and no second try would change that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback

from llmd.engine.cancel_flags import CancelFlagReader
from llmd.engine.messages import LOST_DEVICE, LoadFailed
from llmd.processes import protect_memory
from llmd.worker.daemon_link import DaemonLink, exit_now
from llmd.worker.library_problems import explain_failed_import

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Serves the daemon. Ignores the terminal's Ctrl-C, redirects stdout to stderr, and has the
    Linux kernel kill the process when the daemon dies."""
    protect_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    socket_fd, flags_fd = map(int, sys.argv[1:3])
    link = DaemonLink(socket_fd)
    try:
        from llmd.worker.serve_requests import Worker
    except (ImportError, OSError, RuntimeError) as error:  # as llama_cpp raises them
        link.send(LoadFailed(explain_failed_import(str(error))))
        exit_now()
    try:
        has_lost_device = Worker(link, CancelFlagReader(flags_fd)).run()
    except Exception:
        traceback.print_exc()
        exit_now(1)
    exit_now(LOST_DEVICE if has_lost_device else 0)


if __name__ == "__main__":
    main()
