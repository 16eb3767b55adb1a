"""What a key costs: `python -m tests.editors.key_cost [NVIM]`.

The time of the plugin's own code on Neovim's main thread for each key, in a file of 5,000 lines,
with a suggestion for each; and the time from the engine's first text to the ghost text on the
screen. Both clocks are the machine's monotonic one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.editors.driver import wait
from tests.editors.fixed_worker import SAID
from tests.editors.neovim import BINARY, PLUGIN, NeovimEditor
from tests.editors.world import FixedDaemon, World

N_LINES, N_KEYS, N_SHOWN = 5000, 400, 50
TEXT = "    self.value = self.other + 1\n" * N_LINES

# Before the plugin is loaded: every callback that it gives to the editor is timed.
TIMED = (
    "_G.cost_ns, _G.shown_ns = 0, 0;"
    "local function timed(f) return function(...) local t = vim.uv.hrtime(); local a = f(...);"
    " _G.cost_ns = _G.cost_ns + vim.uv.hrtime() - t; return a end end;"
    "local create, attach = vim.api.nvim_create_autocmd, vim.api.nvim_buf_attach;"
    "vim.api.nvim_create_autocmd = function(e, o)"
    " if o.callback then o.callback = timed(o.callback) end; return create(e, o) end;"
    "vim.api.nvim_buf_attach = function(b, s, o)"
    " if o.on_bytes then o.on_bytes = timed(o.on_bytes) end; return attach(b, s, o) end;"
    "_G.time_receive = function() local c, g = require('llmd.channel'), require('llmd.ghost');"
    " c.receive = timed(c.receive); local show = g.show;"
    " g.show = function(...) show(...); vim.cmd.redraw(); _G.shown_ns = vim.uv.hrtime() end end"
)
TAKE = "local ns = _G.cost_ns; _G.cost_ns = 0; return ns"


def figures(name: str, times_ns: list[int]) -> str:
    ordered = sorted(times_ns)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    return f"{name}: median {statistics.median(ordered) / 1e6:.3f} ms, p99 {p99 / 1e6:.3f} ms"


def costs_of_keys(world: World, editor: Any) -> list[int]:
    """A key is done with when its answer has come: that is part of its cost."""
    found = []
    editor.keys("2500GO")
    editor.lua(TAKE)
    line = ""
    for nth in range(N_KEYS):
        line += "abcdefg "[nth % 8]
        editor.keys(line[-1])
        wait(lambda line=line: editor.value("getline('.')") == line, "the key")
        found.append(editor.lua(TAKE))
    editor.keys("<Esc>")
    return found


def times_to_the_screen(world: World, editor: Any, said: Path) -> list[int]:
    found = []
    for nth in range(N_SHOWN):
        world.says(f"word_{nth}")
        editor.keys(f"<Esc>ox{nth} = ")
        wait(lambda nth=nth: editor.ghost() == f"word_{nth}", "the ghost text")
        found.append(editor.lua("return _G.shown_ns") - int(said.read_text()))
    editor.keys("<Esc>")
    return found


def startup_ms(binary: Path, folder: Path) -> list[float]:
    """Of the plugin's file, as `--startuptime` says."""
    found = []
    for nth in range(10):
        log = folder / f"startup_{nth}"
        argv = [binary, "--clean", "--headless", "--cmd", f"set rtp^={PLUGIN}"]
        subprocess.run([*argv, "--startuptime", log, "+qa"], check=True)
        lines = log.read_text().splitlines()
        found += [float(line.split()[2][:-1]) for line in lines if "plugin/llmd.lua" in line][:1]
    return found


def main() -> None:
    binary = Path(sys.argv[1]) if sys.argv[1:] else BINARY
    folder = Path(tempfile.mkdtemp(prefix="llmd-key-"))
    with FixedDaemon(folder) as daemon:
        daemon_said = folder / SAID
        world = World(
            daemon,
            folder,
            lambda names, path: NeovimEditor(names, path, binary, setup=TIMED),
        )
        editor: Any = world.editor(world.file(TEXT))
        editor.lua("_G.time_receive()")
        world.says("self.value")
        print(figures("plugin's time per key", costs_of_keys(world, editor)))
        shown = times_to_the_screen(world, editor, daemon_said)
        print(figures("engine's first text to the screen", shown))
        world.close()
    times = startup_ms(binary, folder)
    print(f"start-up: median {statistics.median(times):.2f} ms of {len(times)}")


if __name__ == "__main__":
    main()
