"""Translates a command line of llama.cpp into settings of llmd: `llmd config from-flags`. Pure.

Names of flags are those of llama.cpp's common/arg.cpp; docs/CONFIG.md takes its flags from FLAGS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmd.config.parse import find_problem, keys
from llmd.models.hub_reference import HUB_PREFIX

FlagSettings = dict[str, Any]  # by key of the config
# Converts the key and the value of a flag to settings, or to the reason why the value sets nothing.
Convert = Callable[[str, str], "FlagSettings | str"]

_AUTOMATIC = ("-1", "0", "auto")


@dataclass(frozen=True, slots=True)
class Flag:
    """`automatic`: the values by which llama.cpp chooses itself, as llmd does without the key."""

    names: tuple[str, ...]
    key: str
    convert: Convert
    automatic: tuple[str, ...] = ()
    takes_value: bool = True


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """Holds the settings, and for each flag that sets nothing a line with the reason."""

    settings: FlagSettings = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def _number(key: str, text: str) -> FlagSettings | str:
    for kind in (int, float):
        try:
            return {key: kind(text)}
        except ValueError:
            continue
    return f"`{text}` is not a number"


def _text(key: str, text: str) -> FlagSettings | str:
    return {key: text}


def _always(value: Any) -> Convert:
    return lambda key, _: {key: value}


def _gpu_layers(key: str, text: str) -> FlagSettings | str:
    return {key: "all"} if text in ("all", "-2") else _number(key, text)


def _switch(key: str, text: str) -> FlagSettings | str:
    words = {"on": True, "1": True, "true": True, "": True, "enabled": True}
    words |= {"off": False, "0": False, "false": False, "disabled": False}
    return {key: words.get(text, text)}


def _temperature(key: str, text: str) -> FlagSettings | str:
    settings = _number(key, text)
    return {"sampling.profile": "greedy"} if settings == {key: 0} else settings


def _seed(key: str, text: str) -> FlagSettings | str:
    if text in ("-1", str((1 << 32) - 1)):
        return "llmd has no random seed: a completion at the same place is always the same"
    return _number(key, text)


def _mebibytes(key: str, text: str) -> FlagSettings | str:
    try:
        mebibytes = int(text)
    except ValueError:
        return f"`{text}` is not a whole number"
    return {key: mebibytes << 20} if mebibytes >= 0 else "llmd always limits this memory"


def _split(key: str, text: str) -> FlagSettings | str:
    try:
        return {key: [float(part) for part in re.split("[,/]", text)]}
    except ValueError:
        return f"`{text}` is not a list of numbers"


FLAGS = (
    Flag(("-m", "--model"), "model", _text),
    Flag(("-c", "--ctx-size"), "engine.n_ctx", _number, _AUTOMATIC),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "engine.n_gpu_layers", _gpu_layers,
         ("auto", "-1")),
    Flag(("-ts", "--tensor-split"), "engine.tensor_split", _split),
    Flag(("-b", "--batch-size"), "engine.n_batch", _number, _AUTOMATIC),
    Flag(("-ub", "--ubatch-size"), "engine.n_ubatch", _number, _AUTOMATIC),
    Flag(("-t", "--threads"), "engine.threads", _number, _AUTOMATIC),
    Flag(("-fa", "--flash-attn"), "engine.flash_attn", _switch, ("auto",), False),
    Flag(("-ctk", "--cache-type-k"), "engine.cache_type_k", _text),
    Flag(("-ctv", "--cache-type-v"), "engine.cache_type_v", _text),
    Flag(("--no-mmap",), "engine.mmap", _always(False), takes_value=False),
    Flag(("--mmap",), "engine.mmap", _always(True), takes_value=False),
    Flag(("--mlock",), "engine.mlock", _always(True), takes_value=False),
    Flag(("--prio",), "engine.prio", _number),
    Flag(("--sleep-idle-seconds",), "engine.idle_unload_s", _number),
    Flag(("-cram", "--cache-ram"), "kv.ram_bytes", _mebibytes),
    Flag(("--temp", "--temperature"), "sampling.temperature", _temperature),
    Flag(("--min-p",), "sampling.min_p", _number),
    Flag(("-s", "--seed"), "sampling.seed", _seed),
    Flag(("-n", "--predict", "--n-predict"), "completion.max_tokens", _number, ("-1", "-2")),
    Flag(("--spm-infill",), "fim.order", _always("spm"), takes_value=False),
)  # fmt: skip
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}
_HUB = {"-hf": "repo", "-hfr": "repo", "--hf-repo": "repo", "-hff": "file", "--hf-file": "file"}
# llama.cpp's presets for infill, and the names of these models in the catalog.
_PRESETS = {
    "--fim-qwen-1.5b-default": "qwen2.5-coder-1.5b",
    "--fim-qwen-3b-default": "qwen2.5-coder-3b",
    "--fim-qwen-7b-default": "qwen2.5-coder-7b",
    "--fim-qwen-7b-spec": "qwen2.5-coder-7b",
    "--fim-qwen-14b-spec": "qwen2.5-coder-14b",
    "--fim-qwen-30b-default": "qwen3-coder-30b-a3b",
}


def from_flags(words: Sequence[str]) -> ParsedFlags:
    """Converts a command line of llama-cli or llama-server, with or without the program's name."""
    settings: FlagSettings = {}
    hub: dict[str, str] = {}
    skipped = []
    for name, value in _pairs(words):
        if name in _HUB:
            hub[_HUB[name]] = value
            continue
        converted = {"model": _PRESETS[name]} if name in _PRESETS else _convert(name, value)
        if isinstance(converted, str):
            skipped.append(f"{' '.join(filter(None, (name, value)))}: {converted}")
        else:
            settings |= converted
    if hub:
        model = _hub_model(hub)
        if model.startswith(HUB_PREFIX):
            settings["model"] = model
        else:
            skipped.append(f"{' '.join(hub.values())}: {model}")
    return ParsedFlags(settings, tuple(skipped))


def as_toml(settings: FlagSettings) -> str:
    """Writes lines of config.toml, in the order of docs/CONFIG.md."""
    lines: list[str] = []
    section = ""
    for key in keys():
        if key not in settings:
            continue
        name, _, leaf = key.rpartition(".")
        if name != section:
            lines += ["", f"[{name}]"] if lines else [f"[{name}]"]
            section = name
        lines.append(f"{leaf} = {_toml(settings[key])}")
    return "".join(f"{line}\n" for line in lines)


def flags_for_key(key: str) -> tuple[str, ...]:
    """Lists llama.cpp's flags for a key of the config."""
    return tuple(name for flag in FLAGS if flag.key == key for name in flag.names)


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs each flag with its value: the words up to the next flag, or the rest of `--flag=`."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-(\d+(\.\d+)?)?", word):
            name, equals, value = word.partition("=")
            pairs.append((name, value) if equals and name.startswith("--") else (word, ""))
        elif pairs:  # else the word is the name of the program
            name, value = pairs[-1]
            pairs[-1] = name, f"{value} {word}".strip()
    # llama.cpp accepts `_` for `-` in long names.
    return [(n.replace("_", "-") if n.startswith("--") else n, value) for n, value in pairs]


def _convert(name: str, value: str) -> FlagSettings | str:
    flag = _BY_NAME.get(name)
    if flag is None or flag.key not in keys():
        return "llmd has no setting for this flag"
    if flag.takes_value and not value:
        return "the value is missing"
    if value in flag.automatic:
        return "llmd chooses the value itself"
    settings = flag.convert(flag.key, value)
    if isinstance(settings, str):
        return settings
    problems = (find_problem(key, setting) for key, setting in settings.items())
    return next((problem.partition("; ")[0] for problem in problems if problem), settings)


def _hub_model(hub: dict[str, str]) -> str:
    """Returns `hf:OWNER/REPO/FILE`, or what the user must add to get one."""
    repo, _, quantisation = hub.get("repo", "").partition(":")
    if repo and (file := hub.get("file")):
        return f"{HUB_PREFIX}{repo}/{file}"
    if repo.startswith("ggml-org/") and repo.lower().endswith("-q8_0-gguf"):
        file = repo.partition("/")[2][: -len("-GGUF")].lower()
        return f"{HUB_PREFIX}{repo}/{file}.gguf"  # the naming of llama.cpp's own repositories
    which = f"the {quantisation} file" if quantisation else "a file"
    return f'name {which} of the repository: model = "{HUB_PREFIX}{repo or "OWNER/REPO"}/FILE"'


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        plain = (char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped)
        return f'"{"".join(plain)}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
