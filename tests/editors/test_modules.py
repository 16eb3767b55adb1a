"""The modules of both plugins: the same names for the same parts, and imports without a circle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.editors.neovim import PLUGIN as NEOVIM
from tests.editors.vim import PLUGIN as VIM

MODULES = (
    "accept", "buffers", "changes", "channel", "cli", "command", "config", "connect", "cursor",
    "engine", "events", "ghost", "guard", "health", "heartbeat", "keys", "message",
    "partial_accept", "request", "stats", "status", "suggestion", "window",
)  # fmt: skip
# What a user calls: `require('llmd')`, and in Vim the functions `llmd#...` of autoload/llmd.vim.
OWN_OF_NEOVIM = ("init",)

VIM_IMPORT = re.compile(r"^import autoload '\./(\w+)\.vim'", re.M)
LUA_IMPORT = re.compile(r"^local \w+ = require\('llmd\.(\w+)'\)", re.M)


def scripts(plugin: Path) -> list[Path]:
    found = [*plugin.glob("autoload/llmd/*.vim"), *plugin.glob("lua/llmd/*.lua")]
    return sorted(found, key=lambda path: path.stem)


def imports(plugin: Path, pattern: re.Pattern[str]) -> Mapping[str, set[str]]:
    return {path.stem: set(pattern.findall(path.read_text())) for path in scripts(plugin)}


def test_both_plugins_have_the_same_modules() -> None:
    assert [path.stem for path in scripts(VIM)] == list(MODULES)
    assert [path.stem for path in scripts(NEOVIM)] == sorted([*MODULES, *OWN_OF_NEOVIM])


@pytest.mark.parametrize(
    ("plugin", "pattern"), [(NEOVIM, LUA_IMPORT), (VIM, VIM_IMPORT)], ids=["nvim", "vim"]
)
def test_the_import_graph_has_no_circle(plugin: Path, pattern: re.Pattern[str]) -> None:
    graph = imports(plugin, pattern)
    assert graph["request"] >= {"buffers", "channel", "cursor", "suggestion"}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)
