"""Prints docs/CONFIG.md, made from the tree in llmd.config."""

from __future__ import annotations

import json

from llmd.cli.llama_flags import flags_of
from llmd.config.parse import Key, keys

INTRO = """\
# Configuration

Made by `tools/config_doc.py`; a test compares it with the code.

The file is `config.toml` in the platform's configuration folder for `llmd`, or what `LLMD_CONFIG` names; `llmd path config` prints it.
A key is taken from a flag (`llmd serve --set KEY=VALUE`), else from the environment (`LLMD_MODEL` for `model`), else from the file, else it has its default; `llmd config` shows each value and where it came from.

A change of the file is picked up while the daemon runs.
`sampling`, `completion`, `context`, `background` and `engine.idle_unload_s` apply from the next request; `model`, `fim`, `kv` and the rest of `engine` load the model anew.
A file with a mistake changes nothing: the old values stay, and the editor and `llmd status` name the file, the line and the key.

The last column has llama.cpp's flags of the same meaning; `llmd config from-flags -- LINE` says a whole line of llama-cli or llama-server as settings, and what of it has no meaning here.

```toml
model = "qwen2.5-coder-1.5b"

[completion]
max_lines = 4

[engine]
idle_unload_s = 600
```
"""

WORKSPACE = """
## A workspace's own file

`.llmd.toml` in a folder applies to all below it, together with those of the folders above, up to your home folder.
It can only take away; anything else in it is ignored, with a line in the log.

```text
disabled = true                      # no completion here
disabled_filetypes = ["markdown"]    # languages, or endings of file names
ignore = ["vendor/", "*.gen.py"]     # as in .gitignore
```
"""


def text() -> str:
    parts = [INTRO]
    section = None
    for key in keys().values():
        name = key.name.rpartition(".")[0]
        if name != section:
            parts.append(_head(name))
            section = name
        parts.append(_row(key))
    return "".join([*parts, WORKSPACE])


def _head(section: str) -> str:
    title = f"`[{section}]`" if section else "Top level"
    head = "| key | default | values | unit | why | llama.cpp |\n|---|---|---|---|---|---|\n"
    return f"\n## {title}\n\n{head}"


def _row(key: Key) -> str:
    leaf = key.name.rpartition(".")[2]
    flags = ", ".join(f"`{name}`" for name in flags_of(key.name))
    cells = (f"`{leaf}`", f"`{json.dumps(key.default)}`", key.allowed, key.unit, key.reason, flags)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(text(), end="")
