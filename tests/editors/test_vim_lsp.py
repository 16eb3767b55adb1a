"""Vim without our plugin, with the LSP clients of docs/editors/vim.md as it configures them."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from tests.editors.clones import clone
from tests.editors.driver import wait
from tests.editors.steps import CODE, begun
from tests.editors.vim import VimEditor
from tests.editors.world import World
from tests.support.daemon import RunningDaemon

DOC = Path(__file__).resolve().parents[2] / "docs" / "editors" / "vim.md"
VIMSCRIPT = re.compile(r"^```vim\n(.*?)^```$", re.M | re.S)


@pytest.mark.parametrize(
    ("name", "config", "keys"),
    [("yegappan-lsp", "LspAddServer", ""), ("vim-lsp", "lsp#register_server", "<C-X><C-O>")],
)
def test_a_client_of_the_page_completes(
    patient: RunningDaemon, tmp_path: Path, name: str, config: str, keys: str
) -> None:
    ours = next(each for each in VIMSCRIPT.findall(DOC.read_text()) if config in each)
    vimrc = f"set runtimepath^={clone(name)} completeopt=menuone,noselect\n{ours}"
    with closing(
        World(patient, tmp_path, lambda env, path: VimEditor(env, path, vimrc=vimrc, plugin=None))
    ) as world:
        editor = begun(world, CODE)
        editor.keys(f"i    def perimeter(self):<CR>        return 2 * self.ra{keys}")
        menu = "complete_info(['items']).items"
        wait(lambda: "radius" in str(editor.value(menu)), "the text in the menu")
        assert patient.counts()["n_decoded"] > 0
        editor.keys("<C-N><C-Y>")
        wait(lambda: "return 2 * self.radius" in editor.lines()[-1], "it is in the buffer")
