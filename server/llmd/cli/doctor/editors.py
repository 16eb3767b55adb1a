"""Finds the editors on this machine, and checks whether llmd is installed in each of them.

Starts an editor only to print its version. Reads from a configuration only whether the file names
llmd.
"""

from __future__ import annotations

import filecmp
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmd import paths
from llmd.cli.doctor.finding import Finding
from llmd.errors import DaemonError
from llmd.processes import find_program

EditorName = Literal["nvim", "vim", "hx", "emacs", "zed", "kate"]
EditorVersion = tuple[int, ...]

TITLES: dict[EditorName, str] = {
    "nvim": "Neovim", "vim": "Vim", "hx": "Helix", "emacs": "Emacs", "zed": "Zed", "kate": "Kate",
}  # fmt: skip
_OLDEST: dict[EditorName, EditorVersion] = {"nvim": (0, 11), "vim": (9, 0, 1378)}
_DOCS: dict[str, str] = {"nvim": "neovim", "hx": "helix"}
_PACK = {"nvim": "~/.local/share/nvim/site/pack/llmd/start", "vim": "~/.vim/pack/llmd/start"}
_VERSION_TIMEOUT_S = 2.0
_MAX_CONFIG_BYTES = 1 << 20
_VIM_NEEDS = ("+channel", "+job", "+textprop", "+timers", "+vim9script")
# Below the user's home or configuration folder: folders of packages, and configuration files.
_PACKAGES: dict[EditorName, tuple[str, ...]] = {
    "nvim": ("{data}/nvim/site/pack/*/*/*", "{config}/nvim/pack/*/*/*", "{data}/nvim/lazy/*"),
    "vim": ("~/.vim/pack/*/*/*", "{config}/vim/pack/*/*/*", "~/.vim/plugged/*", "~/.vim/bundle/*"),
}
_CONFIGS: dict[EditorName, tuple[str, ...]] = {
    "nvim": ("{config}/nvim/init.*", "{config}/nvim/**/*.lua", "{config}/nvim/**/*.vim"),
    "vim": ("~/.vimrc", "~/.vim/vimrc", "{config}/vim/vimrc"),
    "hx": ("{config}/helix/languages.toml",),
    "emacs": ("~/.emacs", "~/.emacs.el", "~/.emacs.d/*.el", "{config}/emacs/*.el"),
    "zed": ("{config}/zed/settings.json",),
    "kate": ("{config}/kate/lspclient/settings.json",),
}
_PLUGIN_FILE: dict[EditorName, str] = {"nvim": "plugin/llmd.lua", "vim": "plugin/llmd.vim"}


# Where the plugins look for `llmd` when PATH does not have it: plugins/*/…/cli.
_PLUGINS_LOOK_IN = (
    "~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin", "~/.local/share/uv/tools/llmd/bin",
    "~/.local/pipx/venvs/llmd/bin", "~/.local/share/pipx/venvs/llmd/bin",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EditorFacts:
    """Describes an editor and the plugin in it.

    `plugin`: the folder of our plugin, if it is installed as a package; `is_same`: that folder
    has the files of this llmd's own plugin. `is_named`: the editor's configuration names llmd.
    """

    name: EditorName
    version: EditorVersion = ()  # empty: unknown
    plugin: str = ""
    is_same: bool = True
    is_broken_link: bool = False
    is_named: bool = False
    lacks: tuple[str, ...] = ()  # Vim features that are missing


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """Describes the `llmd` command of this shell.

    `path`: the `llmd` on PATH. `is_ours`: `path` belongs to this installation, whose command
    is `own`.
    """

    path: str
    is_ours: bool
    own: str


def read_command() -> CommandFacts:
    script = Path(sys.argv[0])
    own = script if script.name == "llmd" else Path(sys.executable).parent / "llmd"
    path = find_program("llmd") or ""
    return CommandFacts(path, bool(path) and Path(path).resolve() == own.resolve(),
                        str(own.absolute()))  # fmt: skip


def read_editors() -> list[EditorFacts]:
    names = [name for name in TITLES if find_program(_program(name))]
    with ThreadPoolExecutor(len(TITLES)) as pool:
        return list(pool.map(_read_editor, names))


def _program(name: EditorName) -> str:
    """Returns the name of the editor's command, which is `zeditor` for Zed on Debian."""
    return "zeditor" if name == "zed" and not find_program("zed") else name


def _read_editor(name: EditorName) -> EditorFacts:
    text = _version_text(name) if name in ("nvim", "vim") else ""
    folder = _find_plugin(name)
    return EditorFacts(
        name,
        _parse_version(name, text),
        str(folder or ""),
        is_same=folder is None or _is_same(name, folder),
        is_broken_link=folder is not None and not folder.exists(),
        is_named=_is_named(name),
        lacks=_missing_features(text) if name == "vim" else (),
    )


def _version_text(name: EditorName) -> str:
    program = find_program(_program(name)) or name
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, text=True,
            errors="replace", timeout=_VERSION_TIMEOUT_S, check=False,
            env={**os.environ, "NVIM_LOG_FILE": os.devnull},  # else Neovim makes folders
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _parse_version(name: EditorName, text: str) -> EditorVersion:
    """Parses `NVIM v0.11.4`, or `VIM - Vi IMproved 9.0 …` with the patches on a line below."""
    version = re.search(r"(?:NVIM v|IMproved )(\d+(?:\.\d+)*)", text)
    if not version:
        return ()
    numbers = tuple(map(int, version[1].split(".")))
    patch = re.search(r"patches: 1-(\d+)", text)
    return (*numbers, int(patch[1])) if name == "vim" and patch else numbers


def _missing_features(text: str) -> tuple[str, ...]:
    """Lists the features that Vim prints as `-channel`. Vim omits those that are always there."""
    return tuple(name for name in _VIM_NEEDS if re.search(rf"(?<!\S)-{name[1:]}\b", text))


def _find_plugin(name: EditorName) -> Path | None:
    """Finds the folder of our plugin among the editor's packages, or a broken link to it."""
    for folder in _matches(_PACKAGES.get(name, ())):
        is_broken = folder.is_symlink() and not folder.exists() and "llmd" in folder.name
        if is_broken or (folder / _PLUGIN_FILE[name]).is_file():
            return folder
    return None


def _is_same(name: EditorName, folder: Path) -> bool:
    try:
        own = paths.plugin_dir("nvim" if name == "nvim" else "vim")
    except DaemonError:
        return True
    if folder.resolve() == own.resolve() or not folder.exists():
        return True
    files = [path.relative_to(own) for path in own.rglob("*") if path.suffix in (".lua", ".vim")]
    same, _, _ = filecmp.cmpfiles(own, folder, list(map(str, files)), shallow=False)
    return len(same) == len(files)


def _is_named(name: EditorName) -> bool:
    for path in _matches(_CONFIGS[name]):
        with suppress(OSError):
            if path.is_file() and b"llmd" in path.read_bytes()[:_MAX_CONFIG_BYTES]:
                return True
    return False


def _matches(patterns: Iterable[str]) -> Iterable[Path]:
    home = Path(os.environ.get("HOME") or "/")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    for pattern in patterns:
        head, _, rest = pattern.partition("/")
        root = {"{config}": config, "{data}": data, "~": home}[head]
        yield from sorted(root.glob(rest))


def judge_command(command: CommandFacts) -> Finding:
    if not command.path:
        fix = f"`ln -s {shlex.quote(command.own)} ~/.local/bin/llmd`, with that folder on PATH"
        if Path(command.own).parent in map(Path.expanduser, map(Path, _PLUGINS_LOOK_IN)):
            text = "Only the plugins of Vim and Neovim find `llmd`: its folder is not on PATH"
            return Finding("editors", "note", text, f"add `{Path(command.own).parent}` to PATH")
        return Finding("editors", "problem", "Editors cannot find `llmd`: it is not on PATH", fix)
    if not command.is_ours:
        text = f"Editors start `{command.path}`, which belongs to another installation of llmd"
        fix = f"keep one installation; the command of this one is `{command.own}`"
        return Finding("editors", "note", text, fix)
    return Finding("editors", "ok", f"Editors find `{command.path}`")


def judge_editors(editors: Sequence[EditorFacts]) -> Iterator[Finding]:
    for editor in editors:
        title = " ".join((TITLES[editor.name], ".".join(map(str, editor.version)))).strip()
        yield from _judge_editor(editor, title)
    if not editors:
        fix = "configure your editor to run `llmd lsp` as a language server: docs/editors/"
        yield Finding("editors", "note", "No editor that llmd knows is on PATH", fix)


def _judge_editor(editor: EditorFacts, title: str) -> Iterator[Finding]:
    page = f"docs/editors/{_DOCS.get(editor.name, editor.name)}.md"
    oldest = _OLDEST.get(editor.name)
    if oldest and editor.version and editor.version < oldest:
        text = f"{title} is older than {'.'.join(map(str, oldest))}, which the plugin needs"
        fix = f"install a newer version, or use the language server: {page}"
        yield Finding("editors", "note", text, fix)
        return
    if editor.lacks:
        text = f"{title} is built without {', '.join(editor.lacks)}, which the plugin needs"
        yield Finding("editors", "note", text, "install a full build, on Debian `vim-nox`")
    link = ""
    if pack := _PACK.get(editor.name):
        link = f'`mkdir -p {pack} && ln -sfn "$(llmd path plugin-{editor.name})" {pack}/llmd`'
    if editor.is_broken_link:
        text = f"{title}: the plugin is a broken link, `{editor.plugin}`"
        yield Finding("editors", "problem", text, link)
    elif editor.plugin and not editor.is_same:
        text = f"{title}: the plugin in `{editor.plugin}` differs from the plugin of this llmd"
        yield Finding("editors", "note", text, f"remove that copy, then {link}")
    elif editor.plugin:
        yield Finding("editors", "ok", f"{title} has the plugin in `{editor.plugin}`")
    elif editor.is_named:
        yield Finding("editors", "ok", f"{title}: its configuration names llmd")
    else:
        yield Finding("editors", "note", f"{title} has no llmd", link or page)
