"""Translates a command line of llama.cpp into settings of llmd: `llmd config from-flags`. Pure.

Names of flags are those of llama.cpp's common/arg.cpp; docs/CONFIG.md takes its flags from FLAGS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmd.config.parse import find_problem, keys
from llmd.models.references import HUB_PREFIX

FlagSettings = dict[str, Any]  # by key of the config
# Converts the value of a flag to settings, or to a sentence about why the value sets nothing.
Convert = Callable[[str], "FlagSettings | str"]

_AUTOMATIC = "llmd chooses the value itself"
_NO_SETTING = "llmd has no setting for this flag"


@dataclass(frozen=True, slots=True)
class Flag:
    names: tuple[str, ...]
    key: str
    convert: Convert
    takes_value: bool = True


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """Holds the settings, and for each flag that sets nothing a line with the reason."""

    settings: FlagSettings = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def _number(key: str, auto: tuple[str, ...] = ("-1", "0", "auto")) -> Convert:
    """`auto` lists the values by which llama.cpp chooses itself, as llmd does without the key."""

    def convert(text: str) -> FlagSettings | str:
        if text in auto:
            return _AUTOMATIC
        for kind in (int, float):
            try:
                return {key: kind(text)}
            except ValueError:
                continue
        return f"`{text}` is not a number"

    return convert


def _text(key: str) -> Convert:
    return lambda text: {key: text}


def _always(key: str, value: Any) -> Convert:
    return lambda _: {key: value}


def _gpu_layers(text: str) -> FlagSettings | str:
    key = "engine.n_gpu_layers"
    return {key: "all"} if text in ("all", "-2") else _number(key, ("auto", "-1"))(text)


def _switch(key: str) -> Convert:
    words = {"on": True, "1": True, "true": True, "": True, "enabled": True}
    words |= {"off": False, "0": False, "false": False, "disabled": False}
    return lambda text: _AUTOMATIC if text == "auto" else {key: words.get(text, text)}


def _temperature(text: str) -> FlagSettings | str:
    settings = _number("sampling.temperature", ())(text)
    is_zero = settings == {"sampling.temperature": 0}
    return {"sampling.profile": "greedy"} if is_zero else settings


def _seed(text: str) -> FlagSettings | str:
    if text in ("-1", str((1 << 32) - 1)):
        return "llmd has no random seed: a completion at the same place is always the same"
    return _number("sampling.seed", ())(text)


def _mebibytes(text: str) -> FlagSettings | str:
    settings = _number("kv.ram_bytes", ())(text)
    if isinstance(settings, str):
        return settings
    n_mib = settings["kv.ram_bytes"]
    return {"kv.ram_bytes": n_mib << 20} if n_mib >= 0 else "llmd always limits this memory"


def _split(text: str) -> FlagSettings | str:
    try:
        return {"engine.tensor_split": [float(part) for part in re.split("[,/]", text)]}
    except ValueError:
        return f"`{text}` is not a list of numbers"


FLAGS = (
    Flag(("-m", "--model"), "model", _text("model")),
    Flag(("-c", "--ctx-size"), "engine.n_ctx", _number("engine.n_ctx")),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "engine.n_gpu_layers", _gpu_layers),
    Flag(("-ts", "--tensor-split"), "engine.tensor_split", _split),
    Flag(("-b", "--batch-size"), "engine.n_batch", _number("engine.n_batch")),
    Flag(("-ub", "--ubatch-size"), "engine.n_ubatch", _number("engine.n_ubatch")),
    Flag(("-t", "--threads"), "engine.threads", _number("engine.threads")),
    Flag(("-fa", "--flash-attn"), "engine.flash_attn", _switch("engine.flash_attn"), False),
    Flag(("-ctk", "--cache-type-k"), "engine.cache_type_k", _text("engine.cache_type_k")),
    Flag(("-ctv", "--cache-type-v"), "engine.cache_type_v", _text("engine.cache_type_v")),
    Flag(("--no-mmap",), "engine.mmap", _always("engine.mmap", False), False),
    Flag(("--mmap",), "engine.mmap", _always("engine.mmap", True), False),
    Flag(("--mlock",), "engine.mlock", _always("engine.mlock", True), False),
    Flag(("--prio",), "engine.prio", _number("engine.prio", ())),
    Flag(("--sleep-idle-seconds",), "engine.idle_unload_s", _number("engine.idle_unload_s", ())),
    Flag(("-cram", "--cache-ram"), "kv.ram_bytes", _mebibytes),
    Flag(("--temp", "--temperature"), "sampling.temperature", _temperature),
    Flag(("--min-p",), "sampling.min_p", _number("sampling.min_p", ())),
    Flag(("-s", "--seed"), "sampling.seed", _seed),
    Flag(
        ("-n", "--predict", "--n-predict"), "completion.max_tokens",
        _number("completion.max_tokens", ("-1", "-2")),
    ),
    Flag(("--spm-infill",), "fim.order", _always("fim.order", "spm"), False),
)  # fmt: skip
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}
_HUB = {"-hf": "repo", "-hfr": "repo", "--hf-repo": "repo", "-hff": "file", "--hf-file": "file"}
# llama.cpp's presets for infill, and the names of these models in the catalog.
_PRESETS = {
    f"--fim-qwen-{size}": f"qwen2.5-coder-{name}"
    for size, name in (
        ("1.5b-default", "1.5b"), ("3b-default", "3b"), ("7b-default", "7b"), ("7b-spec", "7b"),
        ("14b-spec", "14b"), ("30b-default", ""),
    )
    if name
} | {"--fim-qwen-30b-default": "qwen3-coder-30b-a3b"}  # fmt: skip


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
        return _NO_SETTING
    if flag.takes_value and not value:
        return "the value is missing"
    settings = flag.convert(value)
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
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
