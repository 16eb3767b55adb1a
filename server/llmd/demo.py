"""`llmd demo`: a daemon of its own, two completions in a sample file, and its status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmd import terminal
from llmd.errors import DaemonError
from llmd.report import status_text
from llmd.transport import control

SAMPLE = '''import json


def load_settings(path):
    """Reads the settings from a JSON file."""
    with open(path) as file:
        return $0


def save_settings(path, settings):
    """Writes the settings to a JSON file."""
    with open(path, "w") as file:
        json.dump(settings, file, indent=2)


def merge_settings(base, override):
    merged = dict(base)
    merged.update(override)
    return merged
'''

LOAD_TIMEOUT_S = 120.0


def run() -> int:
    terminal.pull_with_progress()
    with tempfile.TemporaryDirectory(prefix="llmd-") as folder, _own_daemon(Path(folder)) as daemon:
        before, after = SAMPLE.split("$0")
        first = _show(daemon, "A completion at the cursor", before, after)
        typed = first[:5] if first else "json."
        _show(daemon, f"The same after typing `{typed}`: a few tokens", before + typed, after)
        print("\nllmd status\n" + status_text(daemon.request("llmd/status", {})))
    return 0


def _show(daemon: control.Control, title: str, before: str, after: str) -> str:
    lines = before.split("\n")
    place = {"line": len(lines) - 1, "col": len(lines[-1])}
    document = {"uri": "file:///sample/settings.py", "languageId": "python", "text": before + after}
    answer = daemon.request("llmd/complete", document | place, timeout_s=60)
    print(f"\n{title}\n")
    terminal.show_completion(before, answer["text"], after)
    print("\ntrace: " + json.dumps(answer["trace"]))
    return str(answer["text"])


@contextmanager
def _own_daemon(folder: Path) -> Iterator[control.Control]:
    """A daemon in folders of its own, with the built-in model and no user's config."""
    places = {"LLMD_RUNTIME_DIR": "run", "LLMD_STATE_DIR": "state", "LLMD_CONFIG": "config.toml"}
    os.environ |= {name: str(folder / place) for name, place in places.items()}
    os.environ["LLMD_MODEL"] = "builtin"
    log = (folder / "log").open("w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "llmd", "serve"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        yield _wait_ready(server, folder / "log")
    finally:
        server.terminate()
        server.wait(10)
        log.close()


def _wait_ready(server: subprocess.Popen[bytes], log: Path) -> control.Control:
    end_s = time.monotonic() + LOAD_TIMEOUT_S
    daemon: control.Control | None = None
    found: dict[str, Any] = {"state": "starting", "reason": ""}
    while time.monotonic() < end_s and server.poll() is None and found["state"] != "failed":
        if not daemon and (peer := control.connect()):
            daemon = control.Control(peer)
        if daemon:
            found = daemon.request("llmd/status", {})
            if found["state"] == "ready":
                return daemon
        time.sleep(0.05)
    raise DaemonError(f"The demo's daemon is {found['state']}: {found['reason']}{log.read_text()}")
