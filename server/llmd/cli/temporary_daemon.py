"""Starts a daemon for one command, in temporary folders, with the user's models and config."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmd.bridge.daemon_client import DaemonClient, connect_to
from llmd.errors import DaemonError
from llmd.processes import FOLDER, absolute_model, child_env, module_command
from llmd.signals import sigterm_as_exit
from llmd.transport.status_types import Status, decode_answer

LOAD_TIMEOUT_S = 300.0
POLL_S = 0.05


@dataclass(frozen=True)
class TemporaryDaemon:
    """Holds a client, and the environment in which every command finds the daemon."""

    env: Mapping[str, str]
    client: DaemonClient


@contextmanager
def temporary_daemon(
    flags: Sequence[str] = (), has_users_config: bool = True
) -> Iterator[TemporaryDaemon]:
    """Yields the daemon with the model loaded, and ends the daemon afterwards, also on SIGTERM.

    Raises:
        DaemonError: the daemon does not start, or has no model.
    """
    with sigterm_as_exit(), tempfile.TemporaryDirectory(prefix="llmd-") as name:
        folder = Path(name)
        env = child_env() | {
            "LLMD_RUNTIME_DIR": str(folder / "run"),
            "LLMD_STATE_DIR": str(folder / "state"),
        }
        if not has_users_config:
            env["LLMD_CONFIG"] = str(folder / "config.toml")
        sets = [word for flag in flags for word in ("--set", _absolute(flag))]
        with (folder / "log").open("w+") as log:
            server = subprocess.Popen(  # noqa: S603 - our own command
                module_command("llmd", "serve", *sets),
                env=env, cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                yield TemporaryDaemon(env, _wait_ready(server, folder))
            finally:
                server.terminate()
                server.wait()


def _absolute(flag: str) -> str:
    key, _, value = flag.partition("=")
    return f"{key}={absolute_model(value)}" if key == "model" and value else flag


def _wait_ready(server: subprocess.Popen[bytes], folder: Path) -> DaemonClient:
    end_s = time.monotonic() + LOAD_TIMEOUT_S
    client: DaemonClient | None = None
    status = Status()
    while time.monotonic() < end_s and server.poll() is None and status.state != "failed":
        if not client and (connection := connect_to(str(folder / "run" / "daemon.sock"))):
            client = DaemonClient(connection)
        if client:
            status = decode_answer(client.request("llmd/status", {}), Status)
            if status.state == "ready":
                return client
        time.sleep(POLL_S)
    reason = status.reason or (folder / "log").read_text().strip() or "no reason given"
    state = status.state if client else "starting"
    raise DaemonError(f"The temporary daemon is {state}, expected ready: {reason}")
