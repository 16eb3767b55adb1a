"""Each way to install the plugin that docs/editors/neovim.md names, from a clean home, and beside
the completion plugins whose menus share a key with ours.

Other people's plugins are looked for in the folder that LLMD_EDITOR_PLUGINS names (clones of
lazy.nvim, nvim-cmp, blink.cmp); a test skips, with the reason, where one is not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.driver import wait
from tests.editors.neovim import PLUGIN, NeovimEditor
from tests.editors.scenarios import ACCEPT, has_line, shows
from tests.editors.world import FixedDaemon, World

BINARY = Path(sys.executable).parent / "nvim"
FOLDER = "LLMD_EDITOR_PLUGINS"


def others(name: str) -> Path:
    folder = Path(os.environ.get(FOLDER, "/nonexistent")) / name
    if not folder.is_dir():
        pytest.skip(f"no clone of {name} in the folder that {FOLDER} names")
    return folder


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FixedDaemon]:
    with FixedDaemon(tmp_path_factory.mktemp("fixed")) as running:
        yield running  # type: ignore[misc]


@pytest.fixture
def world(fixed: FixedDaemon, tmp_path: Path) -> Iterator[World]:
    """`start` opens an editor with nothing but its user's home."""

    def start(environment: Any, path: Path) -> NeovimEditor:
        return NeovimEditor(environment, path, BINARY, plugin=None, clean=False)

    found = World(fixed, tmp_path, start)
    yield found
    found.close()


def init(world: World, text: str) -> None:
    folder = Path(world.environment["HOME"]) / ".config" / "nvim"
    folder.mkdir(parents=True)
    (folder / "init.lua").write_text(text)


def works(world: World) -> NeovimEditor:
    world.says("self.radius")
    editor: Any = world.editor(world.file(""))
    editor.keys("ix = ")
    shows(editor, "self.radius")
    found: NeovimEditor = editor
    return found


def test_the_command_names_the_plugins_folder(world: World) -> None:
    assert Path(world.daemon.llmd("path", "plugin-nvim").stdout.strip()) == PLUGIN


def test_plain_packages(world: World) -> None:
    start = Path(world.environment["HOME"]) / ".local/share/nvim/site/pack/llmd/start"
    start.mkdir(parents=True)
    (start / "llmd").symlink_to(PLUGIN)
    editor = works(world)
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")


def test_the_runtimepath_alone(world: World) -> None:
    call = "vim.trim(vim.fn.system({ 'llmd', 'path', 'plugin-nvim' }))"
    init(world, f"vim.opt.runtimepath:append({call})")
    works(world)


def test_lazy(world: World) -> None:
    lazy = others("lazy.nvim")
    call = "vim.trim(vim.fn.system({ 'llmd', 'path', 'plugin-nvim' }))"
    spec = f"{{ {{ dir = {call}, lazy = false }} }}"
    options = "{ install = { missing = false }, rocks = { enabled = false } }"
    init(world, f"vim.opt.rtp:prepend('{lazy}')\nrequire('lazy').setup({spec}, {options})")
    works(world)


CMP = """
vim.opt.rtp:append('{cmp}')
vim.opt.rtp:append('{plugin}')
vim.cmd('runtime! plugin/cmp.lua')
local cmp = require('cmp')
cmp.register_source('two', {{ complete = function(_, _, done)
  done({{ {{ label = 'xylophone' }}, {{ label = 'xyz' }} }}) end }})
cmp.setup({{
  sources = {{ {{ name = 'two', keyword_length = 2 }} }},
  mapping = {{ ['<Tab>'] = cmp.mapping(function(fallback)
    if cmp.visible() then cmp.select_next_item() else fallback() end end, {{ 'i' }}) }},
}})
"""


def test_nvim_cmp_has_the_key_while_its_menu_is_open(world: World) -> None:
    init(world, CMP.format(cmp=others("nvim-cmp"), plugin=PLUGIN))
    editor = works(world)
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")
    editor.keys("<CR>xy")
    wait(lambda: bool(editor.lua("return require('cmp').visible()")), "its menu")
    editor.keys(ACCEPT)
    wait(lambda: str(editor.value("getline('.')")) in ("xylophone", "xyz"), "its item")


BLINK = """
vim.opt.rtp:append('{blink}')
vim.opt.rtp:append('{plugin}')
require('blink.cmp').setup({{
  fuzzy = {{ implementation = 'lua' }},
  keymap = {{ preset = 'none', ['<Tab>'] = {{ 'select_next', 'fallback' }} }},
  completion = {{ list = {{ selection = {{ preselect = false, auto_insert = true }} }} }},
  sources = {{ default = {{ 'buffer' }} }},
}})
"""


def test_blink_has_the_key_while_its_menu_is_open(world: World) -> None:
    init(world, BLINK.format(blink=others("blink.cmp"), plugin=PLUGIN))
    editor = works(world)
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")
    editor.keys("<CR>xylophone<CR>xyl")
    wait(lambda: bool(editor.lua("return require('blink.cmp').is_menu_visible()")), "its menu")
    editor.keys(ACCEPT)
    wait(lambda: editor.value("getline('.')") == "xylophone", "its item")
