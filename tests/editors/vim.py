"""A real Vim in a terminal (tmux). Keys go through the terminal; what is looked at comes over a
channel that the test's own vimrc opens, so that looking types nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.editors.driver import wait

PLUGIN = Path(__file__).parents[2] / "plugins" / "vim"
COLS, ROWS = 80, 24
START_S = 30.0  # a busy machine starts a terminal slowly
# Alt and a character, from a terminal that has been asked for modifyOtherKeys. Without it Vim sees
# an Esc before the character.
ALT = "\x1b[27;3;{}~"
TMUX_CONF = """
set -s escape-time 0
set -g default-terminal tmux-256color
set -g status off
"""
VIMRC = """
set nocompatible nomore shortmess+=I ttimeout ttimeoutlen=10 timeoutlen=300
set encoding=utf-8 nofixendofline noautoindent
filetype plugin on
let g:test_channel = ch_open('unix:{looking}', {{'mode': 'json'}})
set runtimepath^={plugin}
"""
_NAMED = {
    "CR": "Enter", "BS": "BSpace", "Esc": "Escape", "Del": "DC", "Insert": "IC",
    "Space": "Space", "Tab": "Tab",
}  # fmt: skip
_CHARACTERS = {"Bslash": "\\", "Bar": "|", "lt": "<"}


class VimEditor:
    """`environment` has what the daemon is found by, and `PATH`. `vimrc` is read before the
    plugin; `plugin` is no folder where the test installs it by other means."""

    def __init__(
        self,
        environment: Mapping[str, str],
        path: Path | None = None,
        *,
        vimrc: str = "",
        plugin: Path | None = PLUGIN,
        arguments: tuple[str, ...] = (),
    ) -> None:
        require_vim()
        self._folder = tempfile.TemporaryDirectory(prefix="llmd-vim-")
        folder = Path(self._folder.name)
        self._tmux_socket = str(folder / "tmux")
        self._ids = itertools.count(1)
        self._heard = ""
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "looking"))
            listening.listen(1)
            listening.settimeout(START_S)
            rc = VIMRC.format(looking=folder / "looking", plugin=plugin or "")
            (folder / "vimrc").write_text(rc + vimrc)
            (folder / "tmux.conf").write_text(TMUX_CONF)
            self._start(folder, environment, path, arguments)
            self._peer, _ = listening.accept()
        self._peer.settimeout(START_S)
        wait(lambda: bool(self.value("v:vim_did_enter")), "Vim has started", START_S)

    def _start(
        self,
        folder: Path,
        environment: Mapping[str, str],
        path: Path | None,
        arguments: tuple[str, ...],
    ) -> None:
        vim = ["vim", "-N", "-n", "-i", "NONE", "-u", str(folder / "vimrc"), *arguments]
        command = [*vim, *([str(path)] if path else [])]
        size = ["-x", str(COLS), "-y", str(ROWS)]
        subprocess.run(
            ["tmux", "-S", self._tmux_socket, "-f", str(folder / "tmux.conf"),
             "new-session", "-d", *size, "--", *command],
            env={**environment, "TERM": "xterm-256color"},
            check=True,
        )  # fmt: skip

    def _tmux(self, *args: str) -> str:
        run = ["tmux", "-u", "-S", self._tmux_socket, *args]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout

    # -- keys

    def keys(self, keys: str) -> None:
        for name, text in re.findall(r"<([^<>\s]+)>|([^<]+|<)", keys):
            if name == "lt":
                self._type("<")
            elif alt := re.fullmatch(r"M-(.|Bslash|Bar|lt)", name):
                self._type(ALT.format(ord(_CHARACTERS.get(alt[1], alt[1]))))
            elif name:
                self._tmux("send-keys", tmux_name(name))
            else:
                self._type(text)

    def _type(self, text: str) -> None:
        # tmux takes a `;` at the end as the end of its command.
        text = re.sub(r";$", r"\\;", text)
        self._tmux("send-keys", "-l", "--", text)

    # -- looking

    def value(self, expression: str) -> Any:
        id_ = -next(self._ids)
        self._peer.sendall(json.dumps(["expr", expression, id_]).encode() + b"\n")
        while True:
            said = self._read()
            if said[0] == id_:
                assert said[1] != "ERROR", f"Vim cannot say {expression}"
                return said[1]

    def _read(self) -> list[Any]:
        decoder = json.JSONDecoder()
        while True:
            heard = self._heard.lstrip()
            with contextlib.suppress(json.JSONDecodeError):
                said, end = decoder.raw_decode(heard)
                self._heard = heard[end:]
                return list(said)
            data = self._peer.recv(1 << 16)
            assert data, "Vim has ended"
            self._heard = heard + data.decode()

    def command(self, command: str) -> str:
        quoted = command.replace("'", "''")
        return str(self.value(f"execute('{quoted}', '')")).strip("\n")

    def open(self, path: Path) -> None:
        self.command(f"edit {path}")

    def lines(self) -> list[str]:
        return [str(line) for line in self.value("getline(1, '$')")]

    def cursor(self) -> tuple[int, int]:
        row, col = self.value("[line('.') - 1, col('.') - 1]")
        return int(row), int(col)

    def ghost(self) -> str:
        return str(self.value("llmd#suggestion#Text()"))

    def screen(self) -> list[str]:
        """As it is after all that Vim has drawn: the title comes behind that in the terminal."""
        title = str(next(self._ids))
        self.command(f"set title titlestring={title} | redraw")
        wait(lambda: self._tmux("display", "-p", "#{pane_title}").strip() == title, "the screen")
        rows = self._tmux("capture-pane", "-p").split("\n")
        return [row.rstrip() for row in rows[:ROWS]]

    def mode(self) -> str:
        return str(self.value("mode()"))

    def close(self) -> None:
        """By its own command: the hang-up of a terminal that goes may come while Vim allocates
        memory, and its handler, which allocates too, then waits for ever."""
        with contextlib.suppress(OSError):
            self._peer.sendall(json.dumps(["ex", "qall!"]).encode() + b"\n")
            while self._peer.recv(1 << 16):  # until it has ended, and its connections with it
                pass
        with contextlib.suppress(subprocess.CalledProcessError):
            self._tmux("kill-server")
        self._peer.close()
        self._folder.cleanup()


def tmux_name(name: str) -> str:
    """`C-Right` of Vim's `<C-Right>`; modifiers stay, keys are called otherwise there."""
    *modifiers, key = re.split(r"(?<=[A-Za-z])-(?=.)", name)
    key = {**_NAMED, **_CHARACTERS}.get(key, key)
    return "-".join([*modifiers, key])


def require_vim() -> None:
    for command in ("vim", "tmux"):
        if not shutil.which(command):
            pytest.skip(f"{command} is not installed")
