"""The Neovim that `llmd doctor` is run from: what it has loaded, mapped and connected. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmd.cli.doctor.finding import Finding, Topic

_TOPIC: Topic = "this Neovim"


@dataclass(frozen=True, slots=True)
class Live:
    """What `doctor/neovim` found. `keys`: by action, the default key, whether some key does it,
    and whether the default one does."""

    version: str
    plugins: tuple[str, ...] = ()  # each `plugin/llmd.lua` on the runtimepath
    is_loaded: bool = False
    state: str = ""  # of the plugin's channel: connecting, ready, failed, …; empty: none
    reason: str = ""
    keys: Mapping[str, tuple[str, bool, bool]] | None = None
    n_lsp_clients: int = 0
    rivals: tuple[str, ...] = ()
    is_off: bool = False  # g:llmd_enabled


def live_of(found: Mapping[str, Any]) -> Live:
    """Of the child's JSON: Lua's empty tables are lists."""
    keys = {row["name"]: (row["key"], row["is_mapped"], row["is_default"]) for row in found["keys"]}
    return Live(
        found["version"], tuple(found["plugins"]), found["is_loaded"], found["state"],
        found["reason"], keys or None, found["n_lsp_clients"], tuple(found["rivals"]),
        found["is_off"],
    )  # fmt: skip


def of_fault(fault: str) -> Finding:
    fix = "run `llmd doctor` in a `:terminal` of it: with `:!` Neovim waits, and answers nobody"
    return Finding(_TOPIC, "note", f"It cannot be looked into: {fault}", fix)


def of_live(live: Live) -> Iterator[Finding]:
    if not live.is_loaded:
        yield _without_plugin(live)
    else:
        yield Finding(_TOPIC, "ok", f"Neovim {live.version} has loaded the plugin")
        yield from _of_plugin(live)
    if len(live.plugins) > 1:
        said = (
            f"The plugin is on the runtimepath {len(live.plugins)} times: {', '.join(live.plugins)}"
        )
        yield Finding(_TOPIC, "note", said, "keep the one that `llmd path plugin-nvim` prints")
    for rival in live.rivals:
        yield Finding(_TOPIC, "note", f"`{rival}` shows ghost text too", "disable one of them")


def _without_plugin(live: Live) -> Finding:
    named = f"Neovim {live.version}"
    if live.n_lsp_clients:
        return Finding(_TOPIC, "ok", f"{named} has llmd as a language server, without the plugin")
    if live.plugins:
        said = f"{named} has the plugin on its runtimepath and has not loaded it"
        return Finding(_TOPIC, "problem", said, "`:runtime plugin/llmd.lua`; `:messages` says why")
    fix = "put what `llmd path plugin-nvim` prints on its runtimepath: docs/editors/neovim.md"
    return Finding(_TOPIC, "problem", f"{named} has no llmd", fix)


def _of_plugin(live: Live) -> Iterator[Finding]:
    if live.is_off:
        yield Finding(_TOPIC, "note", "The plugin is switched off there", "`:Llmd toggle`")
    yield _of_state(live)
    if live.n_lsp_clients:
        said = "llmd is a language server there beside the plugin: everything is asked twice"
        yield Finding(_TOPIC, "note", said, "remove `vim.lsp.enable('llmd')`")
    if live.keys is not None:
        yield from _of_keys(live.keys)


_FIXES = {
    "failed": "`:Llmd log`, then `:Llmd restart`",
    "stopped": "`:Llmd start`",
    "silent": "`:Llmd stop`, then `:Llmd start`",
}


def _of_state(live: Live) -> Finding:
    said = f"Its connection to the daemon: {live.state or 'not begun'}"
    if live.state in ("ready", "loading", "unloaded", "starting"):
        return Finding(_TOPIC, "ok", said)
    if fix := _FIXES.get(live.state):
        return Finding(_TOPIC, "problem", f"{said}: {live.reason}".removesuffix(": "), fix)
    return Finding(_TOPIC, "note", said, "open a file of code, and look again")


def _of_keys(keys: Mapping[str, tuple[str, bool, bool]]) -> Iterator[Finding]:
    free = [(name, key) for name, (key, is_mapped, _) in keys.items() if not is_mapped]
    for name, key in free:
        fix = f"`:imap {key} <Plug>(llmd-{name})`, or another key"
        yield Finding(_TOPIC, "note", f"No key does `<Plug>(llmd-{name})`", fix)
    key, is_mapped, is_default = keys.get("accept", ("<Tab>", True, True))
    if is_mapped and not is_default:
        said = f"{key} is mapped by something else, or in this buffer"
        fix = "`:verbose imap <Tab>` says by what; `:imap <C-J> <Plug>(llmd-accept)` is another key"
        yield Finding(_TOPIC, "note", said, fix)
    elif not free:
        yield Finding(_TOPIC, "ok", f"Its keys are mapped: {_mapped(keys)}")


def _mapped(keys: Mapping[str, tuple[str, bool, bool]]) -> str:
    names: Sequence[str] = [
        f"{key} {name}" if is_default else f"{name} by a key of your own"
        for name, (key, _, is_default) in sorted(keys.items())
    ]
    return ", ".join(names)
