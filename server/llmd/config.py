"""Every setting: type, default, unit, reason. Unknown keys are errors, so that a typing mistake
is told and not ignored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llmd import paths
from llmd.errors import BadInput

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


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Sampling(_Section, frozen=True):
    profile: Literal["low", "greedy"] = "low"
    temperature: Annotated[float, Meta(gt=0, le=2)] = 0.2
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.1  # of the likeliest token's probability
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 3407


class Completion(_Section, frozen=True):
    max_tokens: Annotated[int, Meta(ge=1, le=512)] = 64
    max_lines: Annotated[int, Meta(ge=1, le=64)] = 8
    max_line_suffix: Annotated[int, Meta(ge=0)] = 8  # characters right of the cursor
    deadline_ms: Annotated[int, Meta(ge=10)] = 1500
    disabled_filetypes: tuple[str, ...] = DISABLED_FILETYPES
    secret_files: tuple[str, ...] = SECRET_FILES


class Fim(_Section, frozen=True):
    order: Literal["auto", "psm", "spm"] = "auto"


class Context(_Section, frozen=True):
    n_prefix: Annotated[int, Meta(ge=16)] = 768  # tokens
    n_suffix: Annotated[int, Meta(ge=0)] = 254  # tokens
    max_file_bytes: Annotated[int, Meta(ge=1)] = 4 << 20


class Engine(_Section, frozen=True):
    n_ctx: Annotated[int, Meta(ge=256)] | Auto = "auto"
    n_gpu_layers: Annotated[int, Meta(ge=0)] | Literal["all"] = "all"
    n_batch: Annotated[int, Meta(ge=1, le=4096)] | Auto = "auto"
    threads: Annotated[int, Meta(ge=1)] | Auto = "auto"
    flash_attn: bool | Auto = "auto"
    cache_type_k: CacheType | Auto = "auto"  # q4_0
    cache_type_v: CacheType | Auto = "auto"  # q4_0 with flash attention, else f16
    mmap: bool = True


class Config(_Section, frozen=True):
    model: str = "builtin"
    sampling: Sampling = Sampling()
    completion: Completion = Completion()
    fim: Fim = Fim()
    context: Context = Context()
    engine: Engine = Engine()


def parse(text: str, subject: str) -> Config:
    """
    Raises:
        BadInput: no TOML, an unknown key, or a value of the wrong type or out of range.
    """
    try:
        return msgspec.toml.decode(text, type=Config)
    except msgspec.DecodeError as error:  # ValidationError is one
        raise BadInput(f"Config `{subject}`: {error}; correct it or remove the line") from None


def load(path: Path | None = None) -> Config:
    """The file's config, or the defaults where there is no file; LLMD_MODEL overrides."""
    path = path or paths.config_path()
    try:
        config = parse(path.read_text(), str(path))
    except FileNotFoundError:
        config = Config()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Config `{path}` cannot be read: {error}") from None
    if model := os.environ.get("LLMD_MODEL"):
        config = msgspec.structs.replace(config, model=model)
    return config
