"""Defines every setting: type, range, default, unit, description. docs/CONFIG.md is generated from
these classes.

Unknown keys are errors (see `parse`), so that a typing mistake is reported and not ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

CacheType = Literal["f16", "q8_0", "q4_0"]
Auto = Literal["auto"]

# Files that hold secrets. Matched case-insensitively against the file name, or against the end of
# the path if the pattern has a slash.
SECRET_FILES = (
    ".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx",
    "*.gpg", "*.asc", "*.ovpn", "id_*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass",
    ".git-credentials", ".htpasswd", "credentials", "credentials.*", "secrets.*", "*.tfvars",
    "*.tfstate", ".ssh/*", ".gnupg/*", ".aws/*", ".kube/config", ".docker/config.json",
    "secret.*", "secrets/*", "*_history", "*.tfstate.*", "*.tfvars.*", "*.pem.*", "*.ppk", "*.p8",
    "*.der", ".git/config", "gh/hosts.yml", "kubeconfig*", "kubectl-edit-*", ".vault-token",
    "application_default_credentials.json", "client_secret*.json", "service-account*.json",
    ".my.cnf", ".s3cfg", "rclone.conf", ".m2/settings.xml", "gradle.properties", ".yarnrc.yml",
    "containers/auth.json", "sops/age/*", "wg*.conf", "/etc/shadow", "/dev/shm/pass.*",  # noqa: S108
    "/dev/shm/gopass*",  # noqa: S108
)  # fmt: skip

# gitcommit: a commit message describes a change that the model cannot see.
DISABLED_FILETYPES = (
    "gitcommit", "git-commit", "gitrebase", "git-rebase", "help", "log", "csv", "tsv", "diff",
    "netrw", "TelescopePrompt", "qf", "binary",
)  # fmt: skip


# Characters that a path can contain and JSON can encode.
PATH_CHARS = r"^[^\0\ud800-\udfff]+\Z"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


def _about(reason: str, unit: str = "") -> Meta:
    return Meta(description=reason, extra_json_schema={"unit": unit})


class SamplingConfig(_Section, frozen=True):
    profile: Annotated[
        Literal["low", "greedy"],
        _about("`low` samples with the values below, `greedy` takes the most likely token"),
    ] = "low"
    temperature: Annotated[
        float, Meta(gt=0, le=2), _about("lower values make unlikely tokens rarer")
    ] = 0.2
    min_p: Annotated[
        float,
        Meta(ge=0, le=1),
        _about(
            "tokens less likely than this are never sampled",
            "share of the most likely token's probability",
        ),
    ] = 0.1
    seed: Annotated[
        int,
        Meta(ge=0, le=(1 << 63) - 1),
        _about("the same seed gives the same completion for the same prompt"),
    ] = 3407


class CompletionConfig(_Section, frozen=True):
    max_tokens: Annotated[int, Meta(ge=1, le=512), _about("longest suggestion", "tokens")] = 64
    max_lines: Annotated[
        int, Meta(ge=1, le=64), _about("longest suggestion; blank lines do not count", "lines")
    ] = 8
    max_line_suffix: Annotated[
        int,
        Meta(ge=0, le=10_000),
        _about(
            "nothing is suggested while typing if more text follows the cursor in its line",
            "characters",
        ),
    ] = 8
    deadline_ms: Annotated[
        int,
        Meta(ge=10, le=600_000),
        _about(
            "a suggestion that takes longer is not shown; twenty times as long for a suggestion"
            " invoked by hand",
            "ms",
        ),
    ] = 1500
    debounce_ms: Annotated[
        int,
        Meta(ge=0, le=2000),
        _about(
            "pause in typing before a request; at least 75 on battery if `background` is `mains`",
            "ms",
        ),
    ] = 0
    min_logprob: Annotated[
        Annotated[float, Meta(ge=-100, le=0)] | Literal["off"],
        _about(
            "a suggestion is not shown if the mean log-probability of its first line's tokens is"
            " lower",
            "nats",
        ),
    ] = "off"
    recall: Annotated[
        bool, _about("typing the suggested text shows the rest of it without a new request")
    ] = True
    disabled_filetypes: Annotated[
        tuple[str, ...], _about("languages and file name extensions without completion")
    ] = DISABLED_FILETYPES
    secret_files: Annotated[
        tuple[str, ...],
        _about("patterns of file names that hold secrets; these files never reach the model"),
    ] = SECRET_FILES


class FimConfig(_Section, frozen=True):
    order: Annotated[
        Literal["auto", "psm", "spm", "spm2"],
        _about("order of prefix and suffix; `auto` is the order the model's family was trained on"),
    ] = "auto"
    typed: Annotated[
        Literal["auto", "after_mid", "prefix"],
        _about(
            "place of newly typed text: after the middle token, where a key costs least, or at the"
            " end of the prefix; `auto` depends on the model's family"
        ),
    ] = "auto"
    heal: Annotated[
        bool, _about("token healing: the last partial word before the cursor is generated again")
    ] = True


class ContextConfig(_Section, frozen=True):
    n_prefix: Annotated[
        int, Meta(ge=16, le=1 << 17), _about("text before the cursor in the prompt", "tokens")
    ] = 768
    n_suffix: Annotated[
        int, Meta(ge=0, le=1 << 17), _about("text after the cursor in the prompt", "tokens")
    ] = 254
    max_file_bytes: Annotated[
        int, Meta(ge=1, le=1 << 30), _about("larger files get no completion", "bytes")
    ] = 4 << 20


class EngineConfig(_Section, frozen=True):
    n_ctx: Annotated[
        Annotated[int, Meta(ge=256, le=1 << 20)] | Auto,
        _about("size of the KV cache; `auto` fits prefix, suffix and completion", "tokens"),
    ] = "auto"
    n_gpu_layers: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | Literal["all"],
        _about("layers on the GPU, including the output layer; `all` is as many as fit", "layers"),
    ] = "all"
    n_batch: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | Auto,
        _about("tokens per batch; `auto` is 64 on a CPU, 512 on a GPU", "tokens"),
    ] = "auto"
    n_ubatch: Annotated[
        Annotated[int, Meta(ge=1, le=4096)] | Auto,
        _about(
            "tokens per micro-batch, at most `n_batch`; `auto` is `n_batch`, or less if memory is"
            " short",
            "tokens",
        ),
    ] = "auto"
    tensor_split: Annotated[
        tuple[Annotated[float, Meta(ge=0, le=1e6)], ...] | Auto,
        _about("share of the layers for each GPU; `auto` divides by free memory"),
    ] = "auto"
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | Auto, _about("`auto` is the number of fast cores")
    ] = "auto"
    prio: Annotated[
        int,
        Meta(ge=-1, le=3),
        _about("priority of the worker process: -1 low, 0 normal, 1 medium, 2 high, 3 highest"),
    ] = 0
    flash_attn: Annotated[
        bool | Auto, _about("flash attention; `auto` is off on a CPU, where it is slow, else on")
    ] = "auto"
    cache_type_k: Annotated[
        CacheType | Auto,
        _about("KV cache type of keys; `auto` is q4_0, on a GPU the set type of V"),
    ] = "auto"
    cache_type_v: Annotated[
        CacheType | Auto,
        _about(
            "KV cache type of values; `auto` is f16 on a CPU, on a GPU the set type of K or q4_0"
        ),
    ] = "auto"
    mmap: Annotated[bool, _about("map the model file into memory instead of reading it")] = True
    mlock: Annotated[bool, _about("lock the model in memory, so that it is never swapped out")] = (
        False
    )
    idle_unload_s: Annotated[
        int,
        Meta(ge=0, le=7 * 24 * 3600),
        _about("time without a request after which the model is unloaded; 0: never", "s"),
    ] = 1800


class KvConfig(_Section, frozen=True):
    ram_bytes: Annotated[
        int,
        Meta(ge=0, le=1 << 40),
        _about(
            "memory for the KV cells of documents other than the current one; 0: not saved", "bytes"
        ),
    ] = 512 << 20


class Config(_Section, frozen=True):
    model: Annotated[
        str,
        Meta(pattern=PATH_CHARS),
        _about("`builtin`, a model name of `llmd pull`, `hf:OWNER/REPO/FILE`, or a GGUF file"),
    ] = "builtin"
    background: Annotated[
        Literal["on", "off", "mains"],
        _about("prefetching; `mains`: not on battery, where typing also sends fewer requests"),
    ] = "mains"
    sampling: SamplingConfig = SamplingConfig()
    completion: CompletionConfig = CompletionConfig()
    fim: FimConfig = FimConfig()
    context: ContextConfig = ContextConfig()
    engine: EngineConfig = EngineConfig()
    kv: KvConfig = KvConfig()
