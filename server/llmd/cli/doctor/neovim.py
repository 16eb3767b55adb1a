"""Looks into a running Neovim, in a process of its own: an editor that waits answers nobody. The
only importer of pynvim.

`python -m llmd.cli.doctor.neovim ADDRESS` prints one line of JSON. It loads nothing there and
changes nothing.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pynvim

_LOOK = """
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


def main() -> None:
    print(json.dumps(_look(sys.argv[1])), flush=True)
    os._exit(0)  # pynvim leaves its loop and pipes open, and would say so


def _look(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        nvim = pynvim.attach("tcp", address=host, port=int(port))
    else:
        nvim = pynvim.attach("socket", path=address)
    found: dict[str, Any] = nvim.exec_lua(_LOOK)
    return found


if __name__ == "__main__":
    main()
