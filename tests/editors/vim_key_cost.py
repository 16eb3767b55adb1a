"""What a key costs Vim's main thread, and the plugin its start: `python -m
tests.editors.vim_key_cost`. Prints JSON.

Each key is typed through the terminal into a file of 5,000 lines; the time is that of the plugin's
handlers for that key, from Vim's own profile clock, with ghost text on show for half of the keys.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.editors.driver import wait
from tests.editors.vim import PLUGIN, VimEditor
from tests.editors.world import FixedDaemon, World

N_LINES, N_KEYS, N_STARTS = 5_000, 400, 11
LINE = "        self.value = self.compute(value, other) + 1  # some words that fill the line\n"
# A key that changes text is two events to the plugin, between these two of ours. Drawing an answer
# comes later and costs what typing through one does.
CLOCK = """
let g:costs_ms = []
augroup before_llmd
  autocmd CursorMovedI * let g:began = reltime()
augroup END
autocmd VimEnter * call timer_start(100, {-> execute('autocmd after_llmd TextChangedI'
      \\ . ' * call add(g:costs_ms, 1000.0 * reltimefloat(reltime(g:began)))')})
augroup after_llmd
augroup END
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FixedDaemon(folder) as daemon:
            key_ms = _key_costs(World(daemon, folder, VimEditor), folder)
    start_ms = sorted(_start_cost() for _ in range(N_STARTS))
    cuts = statistics.quantiles(key_ms, n=100)
    print(
        json.dumps(
            {
                "n_keys": len(key_ms),
                "key_ms": {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)},
                "start_ms": {"p50": round(start_ms[N_STARTS // 2], 3), "max": start_ms[-1]},
            }
        )
    )


def _key_costs(world: World, folder: Path) -> list[float]:
    path = folder / "long.py"
    path.write_text(LINE * N_LINES)
    world.says("self.radius")
    editor = VimEditor(world.environment, path, vimrc=CLOCK)
    with closing(editor):
        return _typed(editor)


def _typed(editor: VimEditor) -> list[float]:
    wait(lambda: editor.value("exists('#after_llmd#TextChangedI')"), "the clock")
    editor.keys(f"{N_LINES // 2}Go")
    wait(lambda: editor.ghost() != "", "ghost text")
    for n_keys in range(N_KEYS):
        # Half of the keys say what the ghost text says.
        key = "self.radius "[n_keys % 12] if n_keys % 24 < 12 else "x"
        n_before = len(editor.value("getline('.')"))
        editor.keys(key)
        wait(partial(_is_longer, editor, n_before), "the key")
    return [float(ms) for ms in editor.value("g:costs_ms")]


def _is_longer(editor: VimEditor, n_before: int) -> bool:
    return len(editor.value("getline('.')")) > n_before


def _start_cost() -> float:
    """Milliseconds that `--startuptime` gives for the plugin's own script."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        command = ["vim", "-N", "-u", "NONE", "-i", "NONE", "--startuptime", log.name]
        more = ["--cmd", f"set rtp^={PLUGIN}", "--cmd", "set loadplugins", "-es", "-c", "q"]
        subprocess.run([*command, *more], stdin=subprocess.DEVNULL, check=False)
        found = re.search(r"([\d.]+): sourcing \S*plugins/vim/plugin/llmd\.vim", log.read())
    assert found, "the plugin was not read"
    return float(found[1])


if __name__ == "__main__":
    main()
