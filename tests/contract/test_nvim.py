"""A real Neovim with its own LSP client, a real file, the real model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pynvim
import pytest
from tests.support.daemon import RunningDaemon, wait_until

BIN = Path(sys.executable).parent
SETUP = """
vim.lsp.config('llmd', { cmd = { ... , 'lsp' }, filetypes = { 'python' } })
vim.lsp.enable('llmd')
"""


CODE = """class Circle:
    def __init__(self, radius):
        self.radius = radius
"""


@pytest.fixture
def nvim(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    for name, value in daemon.env.items():
        monkeypatch.setenv(name, value)
    argv = [str(BIN / "nvim"), "--clean", "-n", "--embed", "--headless"]
    editor = pynvim.attach("child", argv=argv)
    editor.exec_lua(SETUP, str(BIN / "llmd"))
    file = tmp_path / "circle.py"
    file.write_text(
        "class Circle:\n    def __init__(self, radius):\n        self.radius = radius\n"
    )
    editor.command("set completeopt=menuone")
    editor.command(f"edit {file}")
    editor.command("setlocal noautoindent indentexpr=")
    wait_until(lambda: editor.exec_lua("return #vim.lsp.get_clients({bufnr=0})") == 1, "attached")
    yield editor
    with suppress(OSError, EOFError):  # it ends before it answers
        editor.command("qall!")
    editor.close()


def test_typed_text_is_completed_from_the_model(nvim: Any, daemon: RunningDaemon) -> None:
    clients = daemon.status()["clients"]
    assert any(client["editor"].lower().startswith("neovim") for client in clients)
    nvim.input("Go    def double(self):<CR>        return 2 * self.")
    wait_until(lambda: nvim.current.line.endswith("return 2 * self."), "the text is typed")
    nvim.exec_lua("vim.lsp.completion.enable(true, vim.lsp.get_clients()[1].id, 0)")
    nvim.exec_lua("vim.lsp.completion.get()")
    wait_until(lambda: nvim.funcs.pumvisible(), "the popup shows")
    nvim.input("<C-y>")
    wait_until(lambda: not nvim.funcs.pumvisible(), "the item is taken")
    line = wait_until(lambda: nvim.current.line, "the line")
    assert line.strip().startswith("return 2 * self.radius")


def test_the_buffer_and_the_daemon_agree_after_edits(nvim: Any, daemon: RunningDaemon) -> None:
    """An emoji, an undo and a deleted line: a wrong position would garble what comes back."""
    nvim.input("ggO# 😋 <Esc>ujddu")
    nvim.input("Go<Esc>Sx = '😋'; self.ra")
    wait_until(lambda: nvim.current.line.endswith("self.ra"), "the text is typed")
    found = nvim.exec_lua(
        """
        local params = vim.lsp.util.make_position_params(0, 'utf-8')
        local all = vim.lsp.buf_request_sync(0, 'textDocument/completion', params, 30000)
        for _, reply in pairs(all) do return reply.result.items end
        """
    )
    [item] = found
    start = item["textEdit"]["range"]["start"]["character"]
    assert start == len("x = '😋'; self.".encode())
    assert item["textEdit"]["newText"].startswith("ra")
