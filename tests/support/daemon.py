"""A real daemon with the built-in model in folders of its own, and waiting for conditions."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from llmd.bridge.daemon_client import DaemonClient

T = TypeVar("T")
GREEDY = '[sampling]\nprofile = "greedy"\n'


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 60.0) -> T:
    """The condition's first true value."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


def is_locked(state_dir: Path) -> bool:
    try:
        with (state_dir / "daemon.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


class RunningDaemon:
    command = (sys.executable, "-m", "llmd")

    def __init__(
        self, models_dir: Path, folder: Path, config: str = GREEDY, flags: tuple[str, ...] = ()
    ) -> None:
        self._flags = flags
        self.folder = folder
        # A socket path has at most 104 bytes; pytest's folders are longer.
        self._run = tempfile.TemporaryDirectory(prefix="llmd-")
        (folder / "config.toml").write_text(config)
        self.env = {
            **os.environ,
            "LLMD_RUNTIME_DIR": self._run.name,
            "LLMD_STATE_DIR": str(folder / "state"),
            "LLMD_CONFIG": str(folder / "config.toml"),
            "LLMD_MODELS_DIR": str(models_dir),
        }
        self.socket_path = Path(self._run.name) / "daemon.sock"
        self.log_path = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningDaemon:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "serve", *self._flags],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.is_ready(), "the daemon is ready")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        elif is_locked(self.folder / "state"):  # a daemon that replaced it
            self.llmd("stop")
        self.close()

    def close(self) -> None:
        """Only the folder of the socket: for one that was never started by `with`."""
        self._run.cleanup()

    def edit_config(self, text: str) -> None:
        """As editors save: another file takes the name."""
        new = self.folder / "config.new"
        new.write_text(text)
        new.replace(self.folder / "config.toml")

    def is_ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            return bool(self.status()["state"] == "ready")
        except OSError:  # not there yet, or a dead daemon's socket
            return False

    def control(self) -> DaemonClient:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self.socket_path))
        return DaemonClient(peer)

    def ask(self, method: str, **params: Any) -> Any:
        control = self.control()
        try:
            return control.request(method, params, timeout_s=60)
        finally:
            control.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("llmd/status")
        return found

    def complete(self, text: str, uri: str = "file:///t/a.py", language: str = "python") -> Any:
        """Text with a `$0` for the cursor; the answer of `llmd/complete`."""
        before, after = text.split("$0")
        line, col = before.count("\n"), len(before) - before.rfind("\n") - 1
        place = {"uri": uri, "languageId": language, "text": before + after}
        return self.ask("llmd/complete", **place, line=line, col=col)

    def llmd(self, *args: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """The command, as a person types it."""
        command = [str(Path(sys.executable).parent / "llmd"), *args]
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def llmd_json(self, *args: str) -> Any:
        return json.loads(self.llmd(*args, "--json").stdout)

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status()["counts"]
        return found
