"""llama.cpp's command line in the words of the config: `llmd config from-flags`. Pure.

Names are those of llama.cpp's common/arg.cpp; the same table gives docs/CONFIG.md its flags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmd.config.parse import keys, problem_of
from llmd.models.references import HUB_PREFIX

FlagSettings = dict[str, Any]  # by key
# What a flag's value says, or a sentence about why it says nothing here.
Convert = Callable[[str], "FlagSettings | str"]


@dataclass(frozen=True, slots=True)
class Flag:
    names: tuple[str, ...]
    key: str
    convert: Convert
    takes_value: bool = True


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """`notes`: of each flag that is not in `settings`, why."""

    settings: FlagSettings = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def _number(key: str, auto: tuple[str, ...] = ("-1", "0", "auto")) -> Convert:
    """`auto`: values by which llama.cpp chooses itself, as llmd does without the key."""

    def read(text: str) -> FlagSettings | str:
        if text in auto:
            return "llmd chooses it anyway"
        try:
            return {key: int(text)}
        except ValueError:
            pass
        try:
            return {key: float(text)}
        except ValueError:
            return f"`{text}` is no number"

    return read


def _text(key: str) -> Convert:
    return lambda text: {key: text}


def _always(key: str, value: Any) -> Convert:
    return lambda _: {key: value}


def _layers(text: str) -> FlagSettings | str:
    if text in ("auto", "-1", "all", "-2"):
        return {"engine.n_gpu_layers": "all"} if text in ("all", "-2") else "llmd chooses it anyway"
    return _number("engine.n_gpu_layers", ())(text)


def _switch(key: str) -> Convert:
    words = {"on": True, "1": True, "true": True, "": True, "enabled": True}
    words |= {"off": False, "0": False, "false": False, "disabled": False}
    return lambda text: "llmd chooses it anyway" if text == "auto" else {key: words.get(text, text)}


def _temperature(text: str) -> FlagSettings | str:
    found = _number("sampling.temperature", ())(text)
    if isinstance(found, dict) and found["sampling.temperature"] == 0:
        return {"sampling.profile": "greedy"}
    return found


def _seed(text: str) -> FlagSettings | str:
    if text in ("-1", str((1 << 32) - 1)):
        return "a random seed: llmd answers the same at the same place, each time"
    return _number("sampling.seed", ())(text)


def _mebibytes(text: str) -> FlagSettings | str:
    found = _number("kv.ram_bytes", ())(text)
    if isinstance(found, dict):
        n_mib = found["kv.ram_bytes"]
        return {"kv.ram_bytes": n_mib << 20} if n_mib >= 0 else "no limit, which llmd has always"
    return found


def _split(text: str) -> FlagSettings | str:
    try:
        return {"engine.tensor_split": [float(part) for part in re.split("[,/]", text)]}
    except ValueError:
        return f"`{text}` is no list of numbers"


def _prio(text: str) -> FlagSettings | str:
    return _number("engine.prio", ())(text)


FLAGS = (
    Flag(("-m", "--model"), "model", _text("model")),
    Flag(("-c", "--ctx-size"), "engine.n_ctx", _number("engine.n_ctx")),
    Flag(("-ngl", "--gpu-layers", "--n-gpu-layers"), "engine.n_gpu_layers", _layers),
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
    Flag(("--prio",), "engine.prio", _prio),
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
# llama.cpp's own presets for infill, and the names of their files here.
_PRESETS = {
    f"--fim-qwen-{size}": f"qwen2.5-coder-{name}"
    for size, name in (
        ("1.5b-default", "1.5b"), ("3b-default", "3b"), ("7b-default", "7b"), ("7b-spec", "7b"),
        ("14b-spec", "14b"), ("30b-default", ""),
    )
    if name
} | {"--fim-qwen-30b-default": "qwen3-coder-30b-a3b"}  # fmt: skip

_PROMPT = "the prompt is what stands around your cursor"
_SAMPLER = "llmd draws with temperature and min_p alone"
_CHAT = "llmd completes code and does not chat"
_PARENT = "llmd serves your own editors, through a socket"
_PLACES = "llmd places whole layers by its own plan, which `llmd status --plan` says"
_ROPE = "llama.cpp takes it from the model's file"
_REASONS = (
    (r"-p|--prompt.*|-f|--file|-sys.*|--system-prompt.*|--in-(prefix|suffix).*|--keep|-e|--escape|"
     r"--no-escape|--prompt-cache.*", _PROMPT),
    (r"--top-.*|--typical.*|--repeat-.*|--presence-.*|--frequency-.*|--dry-.*|--xtc-.*|"
     r"--mirostat.*|--dynatemp.*|--samplers?.*|--sampl.*|--logit-bias|-l|--adaptive-.*|--ignore-eos|"
     r"--grammar.*|-j|-jf|--json-schema.*|-bs|--backend-sampling", _SAMPLER),
    (r"-cnv|-no-cnv|--(no-)?conversation|-i|--interactive.*|-if|-r|--reverse-prompt|--jinja|"
     r"--no-jinja|--chat-.*|--reasoning.*|-st|--single-turn|-mli|--multiline-input|-co|--color|"
     r"--display-prompt|--no-display-prompt|--simple-io", _CHAT),
    (r"--host|--port|-a|--alias|--api-key.*|--ssl-.*|--path|--api-prefix|--metrics|--props|--slots|"
     r"--no-slots|-np|--parallel|-to|--timeout|-cb|--cont-batching|--threads-http|--webui.*|--ui.*|"
     r"--no-webui|--embeddings?|--rerank.*", _PARENT),
    (r"--rope-.*|--yarn-.*", _ROPE),
    (r"-ot|--override-tensor|-ncmoe|--n-cpu-moe|-cmoe|--cpu-moe|-dev|--device|-sm|--split-mode|-mg|"
     r"--main-gpu|-nkvo|--(no-)?kv-offload|-fit|--fit|-fitt|--fit-.*|-fitc|--no-host", _PLACES),
    (r"-C|--cpu-.*|-Cr|--numa|--poll.*", "the system places threads on cores"),
    (r"--lora.*", "an adapter is part of a model's entry in `catalog.toml`, see docs/MODELS.md"),
    (r"-md|--model-draft|--draft.*|-ngld|--spec-.*|-hfd|--hf-repo-draft", "llmd makes drafts of its"
     " own, without a second model"),
    (r"--cache-reuse", "llmd keeps what was evaluated by itself"),
    (r"-kvu|--kv-unified|--no-kv-unified|--swa-full", "llmd always does so"),
    (r"-tb|--threads-batch", "llmd uses `engine.threads` for both"),
    (r"-hft|--hf-token", "llmd takes HF_TOKEN from the environment, so that it stays out of files"),
    (r"-v|--verbose|-lv|--log-.*|--verbosity|--perf|--no-perf|--no-warmup|--warmup", "it is about "
     "llama.cpp's own output or start"),
)  # fmt: skip
_UNKNOWN = "it has no meaning here"


def from_flags(words: Sequence[str]) -> ParsedFlags:
    """A llama-cli's or llama-server's line, with or without the program's name."""
    settings: FlagSettings = {}
    hub: dict[str, str] = {}
    notes = []
    for name, value in _pairs(words):
        if name in _HUB:
            hub[_HUB[name]] = value
            continue
        if name in _PRESETS:
            settings["model"] = _PRESETS[name]
            continue
        found = _read(name, value)
        if isinstance(found, str):
            notes.append(f"{' '.join(filter(None, (name, value)))}: {found}")
        else:
            settings |= found
    if hub:
        found = _hub_model(hub)
        settings |= {"model": found} if found.startswith(HUB_PREFIX) else {}
        notes += [] if found.startswith(HUB_PREFIX) else [f"{' '.join(hub.values())}: {found}"]
    return ParsedFlags(settings, tuple(notes))


def as_toml(settings: FlagSettings) -> str:
    """As lines of config.toml, in the order of docs/CONFIG.md."""
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
    """llama.cpp's names for a key of the config."""
    return tuple(name for flag in FLAGS if flag.key == key for name in flag.names)


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Each flag with its value, which is what follows and is no flag itself; `--flag=value` too."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        if _is_flag(word):
            name, equals, value = word.partition("=")
            pairs.append((name, value) if equals and name.startswith("--") else (word, ""))
        elif pairs:  # else it is the program's own name
            name, value = pairs[-1]
            pairs[-1] = name, f"{value} {word}".strip()
    return [(_canonical(name), value) for name, value in pairs]


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word) and word != "-"


def _canonical(name: str) -> str:
    """llama.cpp takes `_` for `-` in long names."""
    return name.replace("_", "-") if name.startswith("--") else name


def _read(name: str, value: str) -> FlagSettings | str:
    if (flag := _BY_NAME.get(name)) is None:
        return next((why for pattern, why in _REASONS if re.fullmatch(pattern, name)), _UNKNOWN)
    if flag.key not in keys():
        return "llmd has no such setting yet"
    if flag.takes_value and not value:
        return "its value is missing"
    found = flag.convert(value)
    if isinstance(found, str):
        return found
    problems = (problem_of(key, each) for key, each in found.items())
    return next((problem.partition("; ")[0] for problem in problems if problem), found)


def _hub_model(hub: dict[str, str]) -> str:
    """`hf:OWNER/REPO/FILE`, or what is missing for that."""
    repo, _, quantisation = hub.get("repo", "").partition(":")
    if repo and (file := hub.get("file")):
        return f"{HUB_PREFIX}{repo}/{file}"
    if repo.startswith("ggml-org/") and repo.lower().endswith("-q8_0-gguf"):
        file = repo.partition("/")[2][: -len("-GGUF")].lower()
        return f"{HUB_PREFIX}{repo}/{file}.gguf"  # so are llama.cpp's own files named
    said = f", that of {quantisation}" if quantisation else ""
    return f'name the repository\'s file{said}: model = "{HUB_PREFIX}{repo or "OWNER/REPO"}/FILE"'


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
