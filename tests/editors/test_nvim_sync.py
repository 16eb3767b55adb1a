"""What the daemon holds of a Neovim's buffer is what the buffer is, whatever was done to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd.document import Document, open_document
from llmd.transport.nvim.buffer_mapping import apply, buffer_text
from llmd.transport.nvim.protocol_types import parse_message
from tests.editors.neovim import BINARY, NeovimEditor
from tests.editors.world import FixedDaemon, World

N_STEPS = 40
TEXT = "def one():\n    return 'ä😋'\n\n\nclass Two:\n    x = [1,\n         2]\n    y = 3\n"
# Vim's commands, in normal mode; `%d` is a line number.
EDITS = (
    "%dGdd", "%dGyyp", "%dGJ", "%dGO😋 new<Esc>", "%dGAa<CR>b<Esc>", "%dGcwword<Esc>", "u", "<C-R>",
    "uu", "%dG>>", ":%s/x/yy\\r/ge<CR>", ":%g/e/s/$/;/<CR>", ":%dm0<CR>", "%dG<C-V>jI# <Esc>",
    "ggVGd", "ggdGitext<CR>more<Esc>", "%dGxp", "%dG~", ":%!cat<CR>", ":silent! earlier 3<CR>",
    ":%dt$<CR>", "Go<Esc>", "%dGi<C-V>xe4<C-V>x0<Esc>", ":silent! later 2<CR>", "%dGrü", "%dGDp",
    ":1,$d<CR>", "%dGi<C-V><C-J><C-V><C-M><Esc>", ":%sort<CR>", "%dGo<Tab>( [ {<Esc>", ".",
)  # fmt: skip


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FixedDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed")) as running:
        yield running  # type: ignore[misc]


@pytest.fixture
def world(daemon: FixedDaemon, tmp_path: Path) -> Iterator[World]:
    def start(environment: Any, path: Path) -> NeovimEditor:
        return NeovimEditor(environment, path, BINARY)

    found = World(daemon, tmp_path, start)
    yield found
    found.close()


SENT = """
local channel = require('llmd.channel')
local send = channel.send
_G.sent = {}
channel.send = function(name, params)
  if name == 'open' or name == 'change' then
    table.insert(_G.sent, { name, vim.deepcopy(params) })
  end
  return send(name, params)
end
"""
# In one call: keys may be on their way.
LOOK = """
require('llmd.buffers').sync(vim.api.nvim_get_current_buf())
local sent = _G.sent
_G.sent = {}
return { sent, vim.api.nvim_buf_get_lines(0, 0, -1, false) }
"""


class Copy:
    """Of the buffer, made from what the plugin sends, as the daemon makes it."""

    def __init__(self) -> None:
        self.document: Document | None = None
        self.n_whole = 0

    def take(self, sent: list[Any]) -> None:
        for name, params in sent:
            message: Any = parse_message(name, [params])
            if name == "open":
                self.n_whole += 1
                text = buffer_text(message.lines)
                self.document = open_document("file:///x.py", "python", message.version, text)
            else:
                assert self.document
                apply(self.document, message)


@pytest.mark.parametrize("seed", range(6))
def test_random_edits(world: World, seed: int) -> None:
    made = random.Random(seed)
    editor: Any = world.editor(world.file(TEXT))
    editor.lua(SENT)
    editor.lua("require('llmd.buffers').renew_all()")
    copy = Copy()
    for _ in range(N_STEPS):
        edit = made.choice(EDITS)
        editor.keys(edit.replace("%d", str(made.randint(1, 9)), 1))
        if made.random() < 0.6:
            sent, lines = editor.lua(LOOK)
            copy.take(sent)
            assert copy.document
            assert str(copy.document.text) == buffer_text(lines), edit
    assert copy.n_whole < N_STEPS / 4
