"""A real Neovim with a UI attached: keys go in as typed, the screen is what it draws."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pynvim
import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugins" / "nvim"
BINARY = Path(sys.executable).parent / "nvim"
COLS, ROWS = 80, 24
# What is typed stands as it was typed: no indentation by filetype.
OPTIONS = "filetype plugin on | filetype indent off"
OPTIONS += " | set nofixendofline noautoindent laststatus=0 noruler shortmess+=I"
GHOST = """
local ns = vim.api.nvim_get_namespaces()['llmd']
local marks = ns and vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true }) or {}
local lines = {}
for _, mark in ipairs(marks) do
  for _, line in ipairs({ mark[4].virt_text, unpack(mark[4].virt_lines or {}) }) do
    local texts = vim.tbl_map(function(chunk) return chunk[1] end, line)
    lines[#lines + 1] = table.concat(texts)
  end
end
return table.concat(lines, '\\n')
"""


@cache
def nvim12() -> Path:
    """Skips, with the reason, where it can't be had."""
    made = subprocess.run(
        [ROOT / "tools" / "nvim12.sh"], env=os.environ, capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip("no Neovim 0.12: " + made.stderr.strip().rpartition("\n")[2])
    return Path(made.stdout.strip())


class NeovimEditor:
    """`environment` has what the daemon is found by, `PATH`, `HOME`. `setup` is run as Lua before
    the plugin; `plugin` is no folder where the test installs it by other means."""

    def __init__(
        self,
        environment: Mapping[str, str],
        path: Path | None,
        binary: Path,
        *,
        setup: str = "",
        plugin: Path | None = PLUGIN,
        clean: bool = True,
    ) -> None:
        settings = [f"{name}={value}" for name, value in environment.items()]
        argv = ["/usr/bin/env", "-i", *settings, str(binary), "-n", "-i", "NONE", "--embed"]
        argv += ["--clean"] if clean else []
        argv += ["--cmd", f"set rtp^={plugin}"] if plugin else []
        argv += ["--cmd", f"lua {setup}"] if setup else []
        self.nvim: Any = pynvim.attach("child", argv=[*argv, "--cmd", OPTIONS])
        self._screen = _Screen()
        self.nvim.ui_attach(COLS, ROWS, rgb=True, ext_linegrid=True)
        if path:
            self.open(path)

    def keys(self, keys: str) -> None:
        while keys:
            n_taken = self.nvim.input(keys)
            keys = keys.encode()[n_taken:].decode()

    def command(self, command: str) -> str:
        return str(self.nvim.api.exec2(command, {"output": True}).get("output", ""))

    def value(self, expression: str) -> object:
        found: object = self.nvim.eval(expression)
        return found

    def lua(self, code: str, *args: object) -> Any:
        return self.nvim.exec_lua(code, *args)

    def open(self, path: Path) -> None:
        self.command(f"edit {path}")

    def lines(self) -> list[str]:
        return list(self.nvim.current.buffer[:])

    def cursor(self) -> tuple[int, int]:
        row, col = self.nvim.current.window.cursor
        return row - 1, col

    def ghost(self) -> str:
        return str(self.lua(GHOST))

    def screen(self) -> list[str]:
        self.nvim.command("redraw")
        self.nvim.eval("1")  # what was drawn before has arrived with the reply
        pending = self.nvim._session._pending_messages
        while pending:
            message = pending.popleft()
            if message.name == "redraw":
                self._screen.draw(message.args)
        return self._screen.rows()

    def mode(self) -> str:
        return str(self.nvim.api.get_mode()["mode"])

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # it ends before it answers
            self.nvim.command("qall!")
        self.nvim.close()


class _Screen:
    """A grid, as the events of `ext_linegrid` say."""

    def __init__(self) -> None:
        self._cells = [[" "] * COLS for _ in range(ROWS)]

    def rows(self) -> list[str]:
        return [re.sub(r"\s+$", "", "".join(row)) for row in self._cells]

    def draw(self, events: list[Any]) -> None:
        for name, *calls in events:
            for args in calls:
                if name == "grid_line":
                    self._draw_line(*args[1:4])
                elif name == "grid_scroll":
                    self._scroll(*args[1:6])
                elif name in ("grid_clear", "grid_resize"):
                    self._cells = [[" "] * COLS for _ in range(ROWS)]

    def _draw_line(self, row: int, col: int, cells: list[Any]) -> None:
        for text, *more in cells:
            n_times = more[1] if len(more) > 1 else 1
            for _ in range(n_times):
                self._cells[row][col] = text
                col += 1

    def _scroll(self, top: int, bottom: int, left: int, right: int, n_rows: int) -> None:
        down = range(bottom - 1, top - n_rows - 1, -1)
        rows = range(top, bottom - n_rows) if n_rows > 0 else down
        for row in rows:
            self._cells[row][left:right] = self._cells[row + n_rows][left:right]
