"""Records the README's animation: typing in a real Neovim with the plugin and the built-in model.
`python -m tools.record docs/demo.cast` writes the terminal's output in asciinema's format (version
2); `npx svg-term-cli --in docs/demo.cast --out docs/demo.svg --window` draws it.
"""

from __future__ import annotations

import codecs
import json
import os
import pty
import random
import select
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

from tests.support.builtin import builtin_path
from tests.support.daemon import RunningDaemon

COLS, ROWS = 76, 18
PLUGIN = Path(__file__).resolve().parents[1] / "plugins" / "nvim"
OPTIONS = "set noswapfile laststatus=0 noruler noshowmode shortmess+=IF nonumber signcolumn=no"
TEXT = '''\
import json
from pathlib import Path


def read_scores(path: Path) -> dict[str, float]:
    """The score of each name."""
'''
# Keys, and the seconds to wait after them.
SCENE = (
    ("Go", 1.2),
    ("with path.op", 1.2),
    ("\t", 0.8),
    ("\r", 1.2),
    ("\t", 1.2),
    ("\x1bGo\r\r\x15def mean(values: list[float]) -> float:\r", 1.5),
    ("\t", 1.2),
    ("\x1bGo\r\r\x15def is_empty(text: str) -> bool:\r", 1.5),
    ("\t", 2.5),
)
KEY_S = (0.05, 0.12)


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "scores.py"
        file.write_text(TEXT)
        with RunningDaemon(builtin_path().parent, folder) as daemon:
            events = list(_play(file, daemon.env))
    header = {"version": 2, "width": COLS, "height": ROWS}
    lines = [header, *([round(at_s, 3), "o", text] for at_s, text in events)]
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _play(file: Path, env: dict[str, str]) -> Iterator[tuple[float, str]]:
    """Yields what Neovim writes to its terminal, with the time in seconds."""
    nvim = Path(sys.executable).with_name("nvim")
    argv = [str(nvim), "--clean", "-n", "--cmd", f"set rtp^={PLUGIN}", "--cmd", OPTIONS, str(file)]
    pid, terminal = pty.fork()
    if pid == 0:
        path = f"{nvim.parent}:{os.environ['PATH']}"
        os.execve(argv[0], argv, env | {"TERM": "xterm-256color", "PATH": path})  # noqa: S606
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLS, 0, 0))
    started_s = time.monotonic()
    rng = random.Random(1)  # noqa: S311
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def read(for_s: float) -> Iterator[tuple[float, str]]:
        for at_s, data in _read(terminal, for_s):
            yield at_s - started_s, decode(data)

    yield from read(2.0)
    for keys, pause_s in SCENE:
        for key in keys:
            os.write(terminal, key.encode())
            yield from read(rng.uniform(*KEY_S))
        yield from read(pause_s)
    os.write(terminal, b"\x1b:qa!\r")
    os.waitpid(pid, 0)


def _read(terminal: int, for_s: float) -> Iterator[tuple[float, bytes]]:
    end_s = time.monotonic() + for_s
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([terminal], [], [], left_s)[0]:
            yield time.monotonic(), os.read(terminal, 1 << 16)


if __name__ == "__main__":
    main()
