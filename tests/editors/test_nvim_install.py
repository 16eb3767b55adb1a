"""Each way to install the plugin that docs/editors/neovim.md names, from a clean home, and beside
the completion plugins whose menus share a key with ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.clones import clone
from tests.editors.driver import wait
from tests.editors.neovim import BINARY, PLUGIN, NeovimEditor, nvim12
from tests.editors.steps import ACCEPT, has_line, shows
from tests.editors.world import FixedDaemon, World


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
    lazy = clone("lazy.nvim")
    call = "vim.trim(vim.fn.system({ 'llmd', 'path', 'plugin-nvim' }))"
    spec = f"{{ {{ dir = {call}, lazy = false }} }}"
    options = "{ install = { missing = false }, rocks = { enabled = false } }"
    init(world, f"vim.opt.rtp:prepend('{lazy}')\nrequire('lazy').setup({spec}, {options})")
    works(world)


PACK = """
vim.pack.add({{ {{ src = 'file://{repository}', name = 'llmd' }} }}, {{
  confirm = false,
  load = function(plugin)
    vim.opt.runtimepath:append(plugin.path .. '/plugins/nvim')
  end,
}})
"""


def test_vim_pack(fixed: FixedDaemon, tmp_path: Path) -> None:
    """From a git repository that has the plugin where ours has it."""
    binary = nvim12()
    world = World(
        fixed,
        tmp_path,
        lambda names, path: NeovimEditor(names, path, binary, plugin=None, clean=False),
    )
    repository = tmp_path / "llmd"
    shutil.copytree(PLUGIN, repository / "plugins" / "nvim")
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", "-C", repository, *command], check=True)
    init(world, PACK.format(repository=repository))
    editor = works(world)
    assert "pack/core/opt/llmd/plugins/nvim" in str(editor.value("&runtimepath"))
    world.close()


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
    init(world, CMP.format(cmp=clone("nvim-cmp"), plugin=PLUGIN))
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
    init(world, BLINK.format(blink=clone("blink.cmp"), plugin=PLUGIN))
    editor = works(world)
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")
    editor.keys("<CR>xylophone<CR>xyl")
    wait(lambda: bool(editor.lua("return require('blink.cmp').is_menu_visible()")), "its menu")
    editor.keys(ACCEPT)
    wait(lambda: editor.value("getline('.')") == "xylophone", "its item")


LUASNIP = """
vim.opt.rtp:append('{luasnip}')
vim.opt.rtp:append('{plugin}')
local snip = require('luasnip')
snip.add_snippets('python', {{
  snip.snippet('call', {{ snip.text_node('f('), snip.insert_node(1), snip.text_node(', '),
    snip.insert_node(2), snip.text_node(')') }}),
}})
vim.keymap.set({{ 'i', 's' }}, '<Tab>', function()
  return snip.expand_or_locally_jumpable() and '<Plug>luasnip-expand-or-jump' or '<Tab>'
end, {{ expr = true, remap = true }})
"""


def test_luasnip_has_the_key_while_nothing_shows(world: World) -> None:
    """Its map is older than ours, which goes first while there is ghost text."""
    init(world, LUASNIP.format(luasnip=clone("LuaSnip"), plugin=PLUGIN))
    editor = works(world)
    editor.keys(ACCEPT)
    has_line(editor, "x = self.radius")
    world.says("")
    editor.keys("<CR>call")
    has_line(editor, "call")
    world.has_answered()
    editor.keys("<Tab>")
    has_line(editor, "f(, )")
    world.says("12")
    editor.keys("x")
    shows(editor, "12")
    world.says("")
    editor.keys(ACCEPT)
    has_line(editor, "f(x12, )")
    editor.keys("<Tab>y")
    has_line(editor, "f(x12, y)")
