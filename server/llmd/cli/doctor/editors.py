"""Editors on this machine, and whether llmd is in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llmd.cli.doctor.finding import Finding

Name = Literal["nvim", "vim", "hx", "emacs", "zed", "kate"]
Version = tuple[int, ...]

TITLES: dict[Name, str] = {
    "nvim": "Neovim", "vim": "Vim", "hx": "Helix", "emacs": "Emacs", "zed": "Zed", "kate": "Kate",
}  # fmt: skip
_OLDEST: dict[Name, Version] = {"nvim": (0, 11), "vim": (9, 0, 1378)}
_DOCS: dict[Name, str] = {"nvim": "neovim", "hx": "helix"}
_PACK = {
    "nvim": "~/.local/share/nvim/site/pack/llmd/start",
    "vim": "~/.vim/pack/llmd/start",
}


@dataclass(frozen=True, slots=True)
class Editor:
    """`plugin`: the folder that has our plugin, where it lies as a package; `is_same`: with what
    this llmd has in its own. `is_named`: the editor's configuration names llmd."""

    name: Name
    version: Version = ()  # empty: not known
    plugin: str = ""
    is_same: bool = True
    is_broken_link: bool = False
    is_named: bool = False
    lacks: tuple[str, ...] = ()  # of Vim's features


@dataclass(frozen=True, slots=True)
class Command:
    """`llmd` as editors find it. `is_ours`: it is of the same installation as this one."""

    path: str
    is_ours: bool
    own: str  # where this one's is


def of_command(command: Command) -> Finding:
    if not command.path:
        fix = f"`ln -s {command.own} ~/.local/bin/llmd`, with that folder on PATH"
        return Finding("editors", "problem", "Editors do not find `llmd`: not on PATH", fix)
    if not command.is_ours:
        said = f"Editors start `{command.path}`, which is of another installation than this one"
        return Finding("editors", "note", said, f"keep one of them; this one is `{command.own}`")
    return Finding("editors", "ok", f"Editors find `{command.path}`")


def of_editors(editors: Sequence[Editor]) -> Iterator[Finding]:
    for editor in editors:
        yield from _of_plugin(editor) if editor.name in _OLDEST else [_of_lsp(editor)]
    if not editors:
        fix = f"none, if yours is another that speaks LSP: run `llmd lsp` in it. {_doc('')}"
        yield Finding("editors", "note", "None of the editors that llmd knows is on PATH", fix)


def _of_plugin(editor: Editor) -> Iterator[Finding]:
    title, oldest = _titled(editor), _OLDEST[editor.name]
    if editor.version and editor.version < oldest:
        said = f"{title} is older than {'.'.join(map(str, oldest))}, which the plugin needs"
        yield Finding(
            "editors", "note", said, f"a newer one, or the LSP server: {_doc(editor.name)}"
        )
        return
    if editor.lacks:
        said = f"{title} is built without {', '.join(editor.lacks)}, which the plugin needs"
        yield Finding("editors", "note", said, "install a full build: Debian's is `vim-nox`")
    yield _of_folder(editor, title)


def _of_folder(editor: Editor, title: str) -> Finding:
    if editor.is_broken_link:
        said = f"{title}: the plugin is a link that leads nowhere, `{editor.plugin}`"
        return Finding("editors", "problem", said, _link(editor))
    if editor.plugin and not editor.is_same:
        said = f"{title}: the plugin in `{editor.plugin}` is not the one of this llmd"
        return Finding("editors", "note", said, f"remove that copy, then {_link(editor)}")
    if editor.plugin:
        return Finding("editors", "ok", f"{title} has the plugin, in `{editor.plugin}`")
    if editor.is_named:
        return Finding("editors", "ok", f"{title}: its configuration names llmd")
    return Finding("editors", "note", f"{title} has no llmd", _link(editor))


def _of_lsp(editor: Editor) -> Finding:
    title = _titled(editor)
    if editor.is_named:
        return Finding("editors", "ok", f"{title}: its configuration names llmd")
    return Finding("editors", "note", f"{title} has no llmd", _doc(editor.name))


def _titled(editor: Editor) -> str:
    return " ".join((TITLES[editor.name], ".".join(map(str, editor.version)))).strip()


def _link(editor: Editor) -> str:
    pack = _PACK[editor.name]
    return f'`mkdir -p {pack} && ln -sfn "$(llmd path plugin-{editor.name})" {pack}/llmd`'


def _doc(name: str) -> str:
    """Of the editor; its page has the lines for the configuration."""
    page = f"{_DOCS.get(name, name)}.md" if name else ""  # type: ignore[call-overload]
    return f"docs/editors/{page}"
