"""A daemon of a command's own, in folders that go with it; models and config are the user's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd.bridge.daemon_client import DaemonClient, connect_to
from llmd.errors import DaemonError
from llmd.signals import sigterm_unwinds

LOAD_TIMEOUT_S = 300.0
POLL_S = 0.05


@dataclass(frozen=True)
class TemporaryDaemon:
    """`env` is the environment in which every command finds it."""

    env: Mapping[str, str]
    client: DaemonClient


@contextmanager
def temporary_daemon(
    flags: Sequence[str] = (), has_users_config: bool = True
) -> Iterator[TemporaryDaemon]:
    """With the model loaded. It ends with what is inside, also by SIGTERM.

    Raises:
        DaemonError: it does not start, or has no model.
    """
    with sigterm_unwinds(), tempfile.TemporaryDirectory(prefix="llmd-") as name:
        folder = Path(name)
        places = {"LLMD_RUNTIME_DIR": str(folder / "run"), "LLMD_STATE_DIR": str(folder / "state")}
        if not has_users_config:
            places["LLMD_CONFIG"] = str(folder / "config.toml")
        env = {**os.environ, **places}
        sets = [word for flag in flags for word in ("--set", flag)]
        with (folder / "log").open("w+") as log:
            server = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "llmd", "serve", *sets],
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                yield TemporaryDaemon(env, _wait_ready(server, folder))
            finally:
                server.terminate()
                server.wait()


def _wait_ready(server: subprocess.Popen[bytes], folder: Path) -> DaemonClient:
    end_s = time.monotonic() + LOAD_TIMEOUT_S
    control: DaemonClient | None = None
    found: dict[str, Any] = {"state": "starting", "reason": ""}
    while time.monotonic() < end_s and server.poll() is None and found["state"] != "failed":
        if not control and (peer := connect_to(str(folder / "run" / "daemon.sock"))):
            control = DaemonClient(peer)
        if control:
            found = control.request("llmd/status", {})
            if found["state"] == "ready":
                return control
        time.sleep(POLL_S)
    said = found["reason"] or (folder / "log").read_text().strip() or "it said nothing"
    raise DaemonError(f"A daemon of this command's own is {found['state']}: {said}")
