"""Neovim 0.12 without our plugin: its own client shows what `llmd lsp` answers as ghost text. The
popup of 0.11 is in tests/contract/test_nvim.py."""

from __future__ import annotations

from pathlib import Path

from tests.editors.driver import wait
from tests.editors.neovim import NeovimEditor, nvim12
from tests.editors.world import FixedDaemon, World

# As docs/editors/neovim.md has it.
SETUP = """
vim.lsp.config('llmd', { cmd = { 'llmd', 'lsp' }, filetypes = { 'python' } })
vim.lsp.enable('llmd')
vim.lsp.inline_completion.enable(true)
vim.keymap.set('i', '<Tab>', function()
  return vim.lsp.inline_completion.get() and '' or '<Tab>'
end, { expr = true })
"""
ATTACHED = "luaeval('#vim.lsp.get_clients({ bufnr = 0 })')"


def test_inline_completion(tmp_path: Path) -> None:
    binary = nvim12()
    with FixedDaemon(tmp_path) as daemon:
        daemon.says("self.radius")
        start = lambda names, path: NeovimEditor(  # noqa: E731
            names, path, binary, setup=SETUP.replace("\n", " "), plugin=None
        )
        world = World(daemon, tmp_path, start)
        path = world.file("")
        editor = world.editor(path)
        # What is typed before is not seen.
        wait(lambda: editor.value(ATTACHED) == 1, "the client")
        editor.keys("ix = ")
        wait(lambda: bool(world.why(path)), "its question")
        wait(lambda: "x = self.radius" in editor.screen(), "the ghost text")
        assert editor.lines() == ["x = "]
        editor.keys("<Tab>")
        wait(lambda: editor.lines() == ["x = self.radius"], "the text")
        world.close()
