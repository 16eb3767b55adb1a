"""Finds editors and our plugins in their folders, for doctor's findings. No editor is started but
to print its version, and nothing of a configuration is kept but whether it names llmd."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from llmd import paths
from llmd.cli.doctor.editors import TITLES, Command, Editor, Name
from llmd.errors import DaemonError

_VERSION_TIMEOUT_S = 2.0
_MAX_CONFIG_BYTES = 1 << 20
_VIM_NEEDS = ("+channel", "+job", "+textprop", "+timers", "+vim9script")
# Below the user's home or configuration folder: where packages lie, and what configures it.
_PACKAGES: Mapping[Name, tuple[str, ...]] = {
    "nvim": ("{data}/nvim/site/pack/*/*/*", "{config}/nvim/pack/*/*/*", "{data}/nvim/lazy/*"),
    "vim": ("~/.vim/pack/*/*/*", "{config}/vim/pack/*/*/*", "~/.vim/plugged/*", "~/.vim/bundle/*"),
}
_CONFIGS: Mapping[Name, tuple[str, ...]] = {
    "nvim": ("{config}/nvim/init.*", "{config}/nvim/**/*.lua", "{config}/nvim/**/*.vim"),
    "vim": ("~/.vimrc", "~/.vim/vimrc", "{config}/vim/vimrc"),
    "hx": ("{config}/helix/languages.toml",),
    "emacs": ("~/.emacs", "~/.emacs.el", "~/.emacs.d/*.el", "{config}/emacs/*.el"),
    "zed": ("{config}/zed/settings.json",),
    "kate": ("{config}/kate/lspclient/settings.json",),
}
_PLUGIN_FILE: Mapping[Name, str] = {"nvim": "plugin/llmd.lua", "vim": "plugin/llmd.vim"}


def command() -> Command:
    """`llmd` on PATH, beside the one that runs."""
    script = Path(sys.argv[0])
    own = script if script.name == "llmd" else Path(sys.executable).parent / "llmd"
    found = shutil.which("llmd")
    is_ours = bool(found) and Path(found or "").resolve() == own.resolve()
    return Command(found or "", is_ours, str(own.absolute()))


def editors() -> list[Editor]:
    names = [name for name in TITLES if shutil.which(_program(name))]
    with ThreadPoolExecutor(len(TITLES)) as pool:
        return list(pool.map(_editor, names))


def _program(name: Name) -> str:
    """Debian calls Zed's so."""
    return "zeditor" if name == "zed" and not shutil.which("zed") else name


def _editor(name: Name) -> Editor:
    said = _version_text(name) if name in ("nvim", "vim") else ""
    folder = _package(name)
    return Editor(
        name,
        _version(name, said),
        str(folder or ""),
        is_same=folder is None or _is_same(name, folder),
        is_broken_link=folder is not None and not folder.exists(),
        is_named=_is_named(name),
        lacks=_lacks(said) if name == "vim" else (),
    )


def _version_text(name: Name) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            [_program(name), "--version"], capture_output=True, stdin=subprocess.DEVNULL,
            text=True, errors="replace", timeout=_VERSION_TIMEOUT_S, check=False,
            env={**os.environ, "NVIM_LOG_FILE": os.devnull},  # else Neovim makes folders
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _version(name: Name, said: str) -> tuple[int, ...]:
    """`NVIM v0.11.4`; `VIM - Vi IMproved 9.0 …`, with the patches on a line of their own."""
    found = re.search(r"(?:NVIM v|IMproved )(\d+(?:\.\d+)*)", said)
    if not found:
        return ()
    numbers = tuple(map(int, found[1].split(".")))
    patch = re.search(r"patches: 1-(\d+)", said)
    return (*numbers, int(patch[1])) if name == "vim" and patch else numbers


def _lacks(said: str) -> tuple[str, ...]:
    """Vim says `-channel` of what it was built without, and nothing of what is always there."""
    return tuple(name for name in _VIM_NEEDS if re.search(rf"(?<!\S)-{name[1:]}\b", said))


def _package(name: Name) -> Path | None:
    """The folder of our plugin among the editor's packages; also a link that leads nowhere."""
    for folder in _matches(_PACKAGES.get(name, ())):
        if (folder / _PLUGIN_FILE[name]).is_file():
            return folder
        if folder.is_symlink() and not folder.exists() and "llmd" in folder.name:
            return folder
    return None


def _is_same(name: Name, folder: Path) -> bool:
    """Whether it has the files of the plugin that comes with this llmd."""
    try:
        own = paths.plugin_dir("nvim" if name == "nvim" else "vim")
    except DaemonError:
        return True
    if folder.resolve() == own.resolve() or not folder.exists():
        return True
    files = [path.relative_to(own) for path in own.rglob("*") if path.suffix in (".lua", ".vim")]
    same, _, _ = filecmp.cmpfiles(own, folder, list(map(str, files)), shallow=False)
    return len(same) == len(files)


def _is_named(name: Name) -> bool:
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
