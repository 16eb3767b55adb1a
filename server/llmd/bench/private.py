"""A daemon of the benchmark's own, in folders that go with it; config and models are the user's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmd.errors import DaemonError
from llmd.transport.control import Control

LOAD_TIMEOUT_S = 300.0
POLL_S = 0.05


@contextmanager
def own_daemon(flags: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Yields the environment in which every command finds it, with the model loaded.

    Raises:
        DaemonError: it does not start, or has no model.
    """
    with tempfile.TemporaryDirectory(prefix="llmd-") as name:
        folder = Path(name)
        places = {"LLMD_RUNTIME_DIR": str(folder / "run"), "LLMD_STATE_DIR": str(folder / "state")}
        env = {**os.environ, **places}
        sets = [word for flag in flags for word in ("--set", flag)]
        with (folder / "log").open("w+") as log:
            server = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "llmd", "serve", *sets],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                _wait_ready(server, folder)
                yield env
            finally:
                server.terminate()
                server.wait()


def _wait_ready(server: subprocess.Popen[bytes], folder: Path) -> None:
    end_s = time.monotonic() + LOAD_TIMEOUT_S
    found: dict[str, Any] = {"state": "starting", "reason": ""}
    while time.monotonic() < end_s and server.poll() is None and found["state"] != "failed":
        found = _status(folder / "run" / "daemon.sock") or found
        if found["state"] == "ready":
            return
        time.sleep(POLL_S)
    said = found["reason"] or (folder / "log").read_text().strip() or "it said nothing"
    raise DaemonError(f"The benchmark's daemon is {found['state']}: {said}")


def _status(path: Path) -> dict[str, Any] | None:
    """None before it listens."""
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(str(path))
        except OSError:
            return None
        found: dict[str, Any] = Control(peer).request("llmd/status", {})
        return found
