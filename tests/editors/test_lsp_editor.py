"""An editor of Debian's that has no plugin of ours, in a real terminal: Emacs with eglot, and
company for the popup, configured as docs/editors/emacs.md says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.editors.driver import wait
from tests.support.daemon import RunningDaemon

DOC = Path(__file__).resolve().parents[2] / "docs" / "editors" / "emacs.md"
ELISP = re.compile(r"^```elisp\n(.*?)^```$", re.M | re.S)
# Nothing of the user's, no compiling behind the scenes, and patience with a busy machine.
FRAME = """
(setq inhibit-startup-screen t make-backup-files nil native-comp-deferred-compilation nil)
(require 'jsonrpc)
(setq jsonrpc-default-request-timeout 60)
"""
CODE = """class Circle:
    def __init__(self, radius):
        self.radius = radius

    def perimeter(self):
        return 2 * self."""


def missing() -> str:
    """Why Emacs cannot be tested here; empty: it can."""
    if not (which("emacs") and which("tmux")):
        return "emacs or tmux is not installed (Debian: emacs-nox tmux)"
    require = "(progn (require 'eglot) (require 'company))"
    tried = subprocess.run(
        ["emacs", "-q", "--batch", "--eval", require], capture_output=True, check=False
    )
    return "elpa-eglot or elpa-company is not installed" if tried.returncode else ""


class Emacs:
    """In a tmux of its own, of which only this test knows."""

    def __init__(self, daemon: RunningDaemon, folder: Path, file: Path) -> None:
        self._socket = str(daemon.socket_path.with_name("tmux"))
        init = folder / "init.el"
        init.write_text(FRAME + "".join(ELISP.findall(DOC.read_text())))
        bin_dir = Path(__file__).resolve().parents[2] / ".venv" / "bin"
        env = {**daemon.env, "PATH": f"{bin_dir}:{daemon.env['PATH']}", "HOME": str(folder)}
        argv = ["emacs", "-nw", "-q", "-l", str(init), str(file)]
        self._tmux("new-session", "-d", "-x", "100", "-y", "30", *argv, env=env)

    def _tmux(self, *args: str, env: dict[str, str] | None = None) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *args]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return done.stdout

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def emacs(patient: RunningDaemon, tmp_path: Path) -> Iterator[Emacs]:
    if reason := missing():
        pytest.skip(reason)
    file = tmp_path / "circle.py"
    file.write_text(CODE)
    editor = Emacs(patient, tmp_path, file)
    yield editor
    editor.close()


def test_emacs_shows_and_takes_a_completion(
    emacs: Emacs, patient: RunningDaemon, tmp_path: Path
) -> None:
    wait(lambda: "[eglot:" in emacs.screen(), "eglot is connected")
    emacs.keys("M->")
    emacs.type("ra")
    wait(lambda: "self.radius" in emacs.screen().rpartition("return 2")[2], "the text shows")
    assert patient.counts()["n_decoded"] > 0
    emacs.keys("Enter")
    emacs.keys("C-x", "C-s")
    saved = f"{CODE}radius"
    wait(lambda: (tmp_path / "circle.py").read_text().startswith(saved), "it is in the file")
