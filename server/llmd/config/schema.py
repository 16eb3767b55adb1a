"""Every setting: type, range, default, unit, reason. docs/CONFIG.md is made from this tree.

Unknown keys are errors (config_text), so that a typing mistake is told and not ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CacheType = Literal["f16", "q8_0", "q4_0"]
Auto = Literal["auto"]

# Files that hold keys. Matched without case against the name, or, where a pattern has a slash,
# against the end of the path.
SECRET_FILES = (
    ".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx",
    "*.gpg", "*.asc", "*.ovpn", "id_*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass",
    ".git-credentials", ".htpasswd", "credentials", "credentials.*", "secrets.*", "*.tfvars",
    "*.tfstate", ".ssh/*", ".gnupg/*", ".aws/*", ".kube/config", ".docker/config.json",
)  # fmt: skip

# gitcommit: what one writes there is about the change, which the model has not seen.
DISABLED_FILETYPES = (
    "gitcommit", "git-commit", "gitrebase", "git-rebase", "help", "log", "csv", "tsv", "diff",
    "netrw", "TelescopePrompt", "qf", "binary",
)  # fmt: skip


# What a file's name can be made of, and what JSON can carry.
PATH_CHARS = r"^[^\0\ud800-\udfff]+\Z"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def _about(reason: str, unit: str = "") -> Meta:
    return Meta(description=reason, extra_json_schema={"unit": unit})


class SamplingConfig(_Section, frozen=True):
    profile: Annotated[
        Literal["low", "greedy"],
        _about("`low` draws with the values below, `greedy` takes the likeliest token"),
    ] = "low"
    temperature: Annotated[
        float, Meta(gt=0, le=2), _about("what one types next is seldom the unlikely")
    ] = 0.2
    min_p: Annotated[
        float,
        Meta(ge=0, le=1),
        _about("tokens less likely are not drawn", "of the likeliest token's probability"),
    ] = 0.1
    seed: Annotated[
        int, Meta(ge=0, le=(1 << 63) - 1), _about("the same text at the same place, each time")
    ] = 3407


class CompletionConfig(_Section, frozen=True):
    max_tokens: Annotated[
        int, Meta(ge=1, le=512), _about("a longer suggestion is seldom read", "tokens")
    ] = 64
    max_lines: Annotated[int, Meta(ge=1, le=64), _about("lines that hold text", "lines")] = 8
    max_line_suffix: Annotated[
        int,
        Meta(ge=0, le=10_000),
        _about(
            "with more text right of the cursor nothing is suggested while typing", "characters"
        ),
    ] = 8
    deadline_ms: Annotated[
        int,
        Meta(ge=10, le=600_000),
        _about("later, nothing is shown; asked for by hand, twenty times as long", "ms"),
    ] = 1500
    debounce_ms: Annotated[
        int,
        Meta(ge=0, le=2000),
        _about("a pause in the typing before the model is asked; on battery at least 75", "ms"),
    ] = 0
    min_logprob: Annotated[
        Annotated[float, Meta(ge=-100, le=0)] | Literal["off"],
        _about("a first line less likely than this, by its mean token, is not shown", "nats"),
    ] = "off"
    recall: Annotated[
        bool, _about("typing what was suggested goes on with it, without asking the model")
    ] = True
    disabled_filetypes: Annotated[
        tuple[str, ...], _about("languages, or endings of file names, without completion")
    ] = DISABLED_FILETYPES
    secret_files: Annotated[
        tuple[str, ...], _about("patterns of names that hold keys; these never reach the model")
    ] = SECRET_FILES


class FimConfig(_Section, frozen=True):
    order: Annotated[
        Literal["auto", "psm", "spm", "spm2"],
        _about("prefix or suffix first; `auto` is what the model's family was trained for"),
    ] = "auto"
    typed: Annotated[
        Literal["auto", "after_mid", "prefix"],
        _about("typed text after the middle marker, where typing is cheapest, or before it"),
    ] = "auto"
    heal: Annotated[
        bool, _about("a word begun is taken back and generated again, as the model knows it")
    ] = True


class ContextConfig(_Section, frozen=True):
    n_prefix: Annotated[
        int, Meta(ge=16, le=1 << 17), _about("text before the cursor that the model sees", "tokens")
    ] = 768
    n_suffix: Annotated[
        int, Meta(ge=0, le=1 << 17), _about("text after the cursor that the model sees", "tokens")
    ] = 254
    max_file_bytes: Annotated[
        int, Meta(ge=1, le=1 << 30), _about("larger files get no completion", "bytes")
    ] = 4 << 20


class EngineConfig(_Section, frozen=True):
    n_ctx: Annotated[
        Annotated[int, Meta(ge=256, le=1 << 20)] | Auto,
        _about("size of the KV cache; `auto` is what the windows and the answer need", "tokens"),
    ] = "auto"
    n_gpu_layers: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | Literal["all"],
        _about("on the GPU, the output counted as one; `all` is as many as fit", "layers"),
    ] = "all"
    n_batch: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | Auto,
        _about("evaluated at once; `auto` is 64 on a CPU, 512 on a GPU", "tokens"),
    ] = "auto"
    n_ubatch: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | Auto,
        _about("computed at once, at most n_batch; `auto` is n_batch, less to fit", "tokens"),
    ] = "auto"
    tensor_split: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=1e6)], ...] | Auto,
        _about("shares of the layers by GPU; `auto` is by what each has free"),
    ] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | Auto, _about("`auto` is the number of fast cores")
    ] = "auto"
    prio: Annotated[
        int,
        Meta(ge=-1, le=3),
        _about("of the engine's process: -1 low, 0 normal, 1 medium, 2 high, 3 highest"),
    ] = 0
    flash_attn: Annotated[bool | Auto, _about("`auto` is on, but for a CPU, where it is slow")] = (
        "auto"
    )
    cache_type_k: Annotated[CacheType | Auto, _about("`auto` is q4_0")] = "auto"
    cache_type_v: Annotated[
        CacheType | Auto, _about("`auto` is q4_0 with flash attention, else f16")
    ] = "auto"
    mmap: Annotated[bool, _about("map the model's file instead of reading it")] = True
    mlock: Annotated[
        bool, _about("keep the model's pages in memory, whatever else would like them")
    ] = False
    idle_unload_s: Annotated[
        int,
        Meta(ge=0, le=7 * 24 * 3600),
        _about("without a request for so long, the model's memory is freed; 0: never", "s"),
    ] = 1800


class KvConfig(_Section, frozen=True):
    ram_bytes: Annotated[
        int,
        Meta(ge=0, le=1 << 40),
        _about("memory for the cells of documents one is not in; 0: they are dropped", "bytes"),
    ] = 512 << 20


class Config(_Section, frozen=True):
    model: Annotated[
        str,
        Meta(pattern=PATH_CHARS),
        _about("`builtin`, a name that `llmd pull` knows, `hf:OWNER/REPO/FILE`, or a GGUF file"),
    ] = "builtin"
    background: Annotated[
        Literal["on", "off", "mains"],
        _about("work that nobody asked for; `mains`: not on battery, which also saves requests"),
    ] = "mains"
    sampling: SamplingConfig = SamplingConfig()
    completion: CompletionConfig = CompletionConfig()
    fim: FimConfig = FimConfig()
    context: ContextConfig = ContextConfig()
    engine: EngineConfig = EngineConfig()
    kv: KvConfig = KvConfig()
