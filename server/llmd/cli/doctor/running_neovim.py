"""Checks the Neovim that `llmd doctor` runs in: what is loaded, mapped and connected there.

`python -m llmd.cli.doctor.running_neovim ADDRESS` prints one line of JSON, and changes nothing in
Neovim. The check runs in a process of its own, since a Neovim that waits does not answer. The only
importer of pynvim.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence

import msgspec

from llmd.cli.doctor.finding import Finding, Topic
from llmd.cli.doctor.subprocess_json import run_module

_TOPIC: Topic = "this Neovim"
_TIMEOUT_S = 2.0
_FIXES = {
    "failed": "`:Llmd log`, then `:Llmd restart`",
    "stopped": "`:Llmd start`",
    "silent": "`:Llmd stop`, then `:Llmd start`",
}
_SCRIPT = """
local channel = package.loaded['llmd.channel']
local engine = channel and channel.engine or { state = '', reason = '' }
local map = package.loaded['llmd.keys']
local keys = {}
for name, key in pairs(map and map.defaults or {}) do
  local plug = '<Plug>(llmd-' .. name .. ')'
  table.insert(keys, {
    name = name,
    key = key,
    is_mapped = vim.fn.hasmapto(plug, 'i') == 1,
    is_default = vim.fn.maparg(key, 'i') == plug,
  })
end
local n_lsp_clients = 0
for _, client in ipairs(vim.lsp.get_clients()) do
  local cmd = client.config.cmd
  local runs = type(cmd) == 'table' and table.concat(cmd, ' '):find('llmd') ~= nil
  n_lsp_clients = n_lsp_clients + ((client.name == 'llmd' or runs) and 1 or 0)
end
local rivals = {}
for _, rival in ipairs({ 'copilot', 'llama', 'minuet', 'supermaven-nvim' }) do
  if package.loaded[rival] or vim.g['loaded_' .. rival] then
    table.insert(rivals, rival)
  end
end
return {
  version = tostring(vim.version()),
  plugins = vim.api.nvim_get_runtime_file('plugin/llmd.lua', true),
  is_loaded = vim.g.loaded_llmd == 1,
  state = engine.state,
  reason = engine.reason,
  keys = keys,
  n_lsp_clients = n_lsp_clients,
  rivals = rivals,
  is_off = vim.g.llmd_enabled == false or vim.g.llmd_enabled == 0,
}
"""


class KeyFacts(msgspec.Struct, frozen=True):
    """Describes a key of the plugin.

    `name`: of the action. `is_mapped`: some key is mapped to it; `is_default`: `key` is.
    """

    name: str
    key: str
    is_mapped: bool = True
    is_default: bool = True


class NeovimFacts(msgspec.Struct, frozen=True):
    """Describes the running Neovim.

    `state`: of the plugin's connection to the daemon; empty: there is none.
    """

    version: str
    plugins: tuple[str, ...] = ()  # each `plugin/llmd.lua` on the runtimepath
    is_loaded: bool = False
    state: str = ""
    reason: str = ""
    keys: tuple[KeyFacts, ...] = ()
    n_lsp_clients: int = 0
    rivals: tuple[str, ...] = ()
    is_off: bool = False  # g:llmd_enabled


def check_this_neovim() -> list[Finding]:
    """Returns nothing where the command does not run in a terminal of Neovim."""
    address = os.environ.get("NVIM")
    if not address:
        return []
    lines, fault = run_module("llmd.cli.doctor.running_neovim", [address], _TIMEOUT_S)
    if lines:
        return list(judge_neovim(msgspec.convert(lines[0], NeovimFacts)))
    text = f"Neovim cannot be inspected: {fault or 'no output'}"
    fix = "run `llmd doctor` in a `:terminal` of Neovim; during `:!` Neovim does not answer"
    return [Finding(_TOPIC, "note", text, fix)]


def judge_neovim(neovim: NeovimFacts) -> Iterator[Finding]:
    if neovim.is_loaded:
        yield Finding(_TOPIC, "ok", f"Neovim {neovim.version} has loaded the plugin")
        yield from _judge_plugin(neovim)
    else:
        yield _judge_missing_plugin(neovim)
    if len(neovim.plugins) > 1:
        times = f"{len(neovim.plugins)} times: {', '.join(neovim.plugins)}"
        text = f"The plugin is on the runtimepath {times}"
        yield Finding(_TOPIC, "note", text, "keep the folder that `llmd path plugin-nvim` prints")
    for rival in neovim.rivals:
        yield Finding(_TOPIC, "note", f"`{rival}` also shows ghost text", "disable one of them")


def _judge_missing_plugin(neovim: NeovimFacts) -> Finding:
    title = f"Neovim {neovim.version}"
    if neovim.n_lsp_clients:
        return Finding(_TOPIC, "ok", f"{title} has llmd as a language server, without the plugin")
    if neovim.plugins:
        text = f"{title} has the plugin on its runtimepath but has not loaded it"
        return Finding(_TOPIC, "problem", text, "`:runtime plugin/llmd.lua`; `:messages` shows why")
    fix = "add the output of `llmd path plugin-nvim` to the runtimepath: docs/editors/neovim.md"
    return Finding(_TOPIC, "problem", f"{title} has no llmd", fix)


def _judge_plugin(neovim: NeovimFacts) -> Iterator[Finding]:
    if neovim.is_off:
        yield Finding(_TOPIC, "note", "The plugin is disabled", "`:Llmd toggle`")
    yield _judge_connection(neovim)
    if neovim.n_lsp_clients:
        text = "llmd also runs as a language server beside the plugin"
        fix = "remove `vim.lsp.enable('llmd')`"
        yield Finding(_TOPIC, "note", f"{text}, so each request is sent twice", fix)
    if neovim.keys:
        yield from _judge_keys(neovim.keys)


def _judge_connection(neovim: NeovimFacts) -> Finding:
    text = f"The plugin's connection to the daemon: {neovim.state or 'not started'}"
    if neovim.state in ("ready", "loading", "unloaded", "starting"):
        return Finding(_TOPIC, "ok", text)
    if fix := _FIXES.get(neovim.state):
        return Finding(_TOPIC, "problem", f"{text}: {neovim.reason}".removesuffix(": "), fix)
    return Finding(_TOPIC, "note", text, "open a source file, then run `llmd doctor` again")


def _judge_keys(keys: Sequence[KeyFacts]) -> Iterator[Finding]:
    unmapped = [key for key in keys if not key.is_mapped]
    for key in unmapped:
        fix = f"`:imap {key.key} <Plug>(llmd-{key.name})`, or another key"
        yield Finding(_TOPIC, "note", f"No key is mapped to `<Plug>(llmd-{key.name})`", fix)
    taken = [key for key in keys if key.name == "accept" and key.is_mapped and not key.is_default]
    if taken:
        text = f"{taken[0].key} is mapped to something else, or only in this buffer"
        fix = "see `:verbose imap <Tab>`, or map another key: `:imap <C-J> <Plug>(llmd-accept)`"
        yield Finding(_TOPIC, "note", text, fix)
    elif not unmapped:
        names = [f"{key.key} {key.name}" if key.is_default else f"{key.name} by your own mapping"
                 for key in sorted(keys, key=lambda key: key.name)]  # fmt: skip
        yield Finding(_TOPIC, "ok", f"The keys are mapped: {', '.join(names)}")


def _main(address: str) -> None:
    import pynvim  # a child process alone needs it

    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        nvim = pynvim.attach("tcp", address=host, port=int(port))
    else:
        nvim = pynvim.attach("socket", path=address)
    print(json.dumps(nvim.exec_lua(_SCRIPT)), flush=True)
    os._exit(0)  # pynvim leaves its loop and pipes open, and would report that


if __name__ == "__main__":
    _main(sys.argv[1])
