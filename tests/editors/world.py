"""What is around the editors of a scenario: a daemon, and more editors of the same kind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmd.errors import LlmdError
from tests.editors.driver import Editor, wait
from tests.editors.fixed_worker import VARIABLE
from tests.support.daemon import RunningDaemon

Start = Callable[[Mapping[str, str], Path], Editor]
ROOT = Path(__file__).resolve().parents[2]
MOMENT_S = 0.005  # less than a token takes


class FixedDaemon(RunningDaemon):
    """Its engine says what it is told to."""

    command = (sys.executable, "-m", "tests.editors.fixed_daemon")

    def __init__(self, folder: Path) -> None:
        model = folder / "fixed.gguf"
        model.touch()
        super().__init__(folder, folder, f'model = "{model}"\n')
        self._told = folder / "texts.json"
        self.env |= {VARIABLE: str(self._told), "PYTHONPATH": str(ROOT)}
        self.says("")

    def says(self, *texts: str, hold: int | None = None) -> None:
        """The suggestion and its alternatives. Only `hold` characters of it until told again."""
        new = self._told.with_suffix(".new")
        new.write_text(json.dumps({"texts": texts, "hold": hold}))
        new.replace(self._told)


class World:
    """`start` opens an editor of the kind that the scenario runs in."""

    def __init__(self, daemon: RunningDaemon, folder: Path, start: Start) -> None:
        self.daemon = daemon
        self.folder = folder
        self._start = start
        self._editors: list[Editor] = []
        self._n_files = 0
        self._home = tempfile.TemporaryDirectory(prefix="llmd-home-")

    @property
    def environment(self) -> dict[str, str]:
        names = ("LLMD_RUNTIME_DIR", "LLMD_STATE_DIR", "LLMD_CONFIG", "LLMD_MODELS_DIR")
        ours = {name: self.daemon.env[name] for name in names}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        home = {"HOME": self._home.name, "XDG_RUNTIME_DIR": self._home.name}
        terminal = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "SHELL": "/bin/sh"}
        return {**ours, **home, **terminal, "PATH": path}

    def file(self, text: str, ending: str = "py") -> Path:
        """One that no other scenario has asked about."""
        self._n_files += 1
        path = self.folder / f"place_{self._n_files}.{ending}"
        path.write_text(text)
        return path

    def editor(self, path: Path) -> Editor:
        """Open on the file, with the channel up."""
        n_before = self._n_clients()
        editor = self._start(self.environment, path)
        self._editors.append(editor)
        wait(lambda: self._n_clients() > n_before, "the editor's connection")
        return editor

    def says(self, *texts: str, hold: int | None = None) -> None:
        assert isinstance(self.daemon, FixedDaemon), "a real model says what it likes"
        self.daemon.says(*texts, hold=hold)

    def has_answered(self) -> None:
        """What an editor asked before this has been answered: the engine takes turns."""
        self.daemon.complete("x = $0")

    def n_asked(self) -> int:
        return int(self.daemon.counts()["requests"])

    def why(self, path: Path) -> Any:
        """The last request of the file."""
        return self.daemon.ask("llmd/why", uri=path.as_uri())

    def window(self, path: Path) -> tuple[int, int]:
        """The lines that the last request's model saw, from 1, and the one after them."""
        window = (self.why(path) or {}).get("window") or {"first_line": 0, "end_line": 0}
        return window["first_line"], window["end_line"]

    @property
    def pid(self) -> int:
        return int(self.daemon.status()["pid"])

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The daemon gets no time of the machine."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def slow_worker(self) -> Iterator[Callable[[], bool]]:
        """The engine stands still but for a moment each time it may go on; what it said in that
        moment, the daemon has heard."""
        pid = int(self.daemon.status()["worker_pid"])

        def goes_on() -> bool:
            os.kill(pid, signal.SIGCONT)
            time.sleep(MOMENT_S)
            os.kill(pid, signal.SIGSTOP)
            return self.daemon_is_up()

        os.kill(pid, signal.SIGSTOP)
        try:
            yield goes_on
        finally:
            os.kill(pid, signal.SIGCONT)

    def daemon_is_up(self) -> bool:
        try:
            return bool(self.daemon.status()["state"] == "ready")
        except (OSError, LlmdError):
            return False

    def kill_worker(self) -> None:
        os.kill(self.daemon.status()["worker_pid"], signal.SIGKILL)

    def kill_daemon(self) -> None:
        """As a crash does it: nobody is told."""
        os.kill(self.pid, signal.SIGKILL)

    def _n_clients(self) -> int:
        """0 where there is no daemon."""
        try:
            return len(self.daemon.status()["clients"])
        except (OSError, LlmdError):
            return 0

    def close(self) -> None:
        """Until the daemon has seen them go: the next world counts its own."""
        for editor in self._editors:
            editor.close()
        wait(lambda: self._n_clients() == 0, "the end of the editors' connections")
        self._home.cleanup()
