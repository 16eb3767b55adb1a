"""Defines the FIM format of each model family, and recognises a model's family. Pure.

Spellings and orders come from the model cards and from llama.cpp's `src/llama-vocab.cpp`, which
lists only some of the families. A sentinel is always a single token: a family matches a model only
if the model's vocabulary has the family's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# `spm` is llama.cpp's order, `[SUF] suffix [PRE] prefix [MID]`. `spm2` is the order in which
# StarCoder and CodeLlama were trained, `[PRE][SUF] suffix [MID] prefix`.
Order = Literal["psm", "spm", "spm2"]
Typed = Literal["after_mid", "prefix"]
Role = Literal["pre", "suf", "mid"]


@dataclass(frozen=True, slots=True)
class Family:
    """Describes the FIM format of a family.

    `pre`, `suf`, `mid`: the spelling of each sentinel; empty: the format does not use it.
    `opening`, `closing`: pieces before and after the other pieces; names in angle brackets are
    tokens, `{path}` is the file's name. `typed`: the best place for typed text in the family's own
    order; None: not measured.
    """

    name: str
    pre: str = ""
    suf: str = ""
    mid: str = ""
    order: Order = "psm"
    repo: str = ""
    file: str = ""
    stop: tuple[str, ...] = ()
    name_pattern: str = ""  # a regular expression that must match the model's name
    opening: tuple[str, ...] = ()
    closing: tuple[str, ...] = ()
    typed: Typed | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """Returns the spellings of the sentinels that a model's vocabulary must have."""
        return tuple(text for text in (self.pre, self.suf, self.mid) if text)


PLAIN = Family("plain")

# The first matching row wins, so a row with a name pattern comes before rows with the same tokens.
FAMILIES = (
    Family("smollm2-fim", order="spm", name_pattern=r"(?i)smollm2.*fim", typed="after_mid"),
    Family(
        "mellum", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "spm",
        file="<filename>", stop=("<|endoftext|>", "<filename>"),
        name_pattern=r"(?i)mellum", opening=("<filename>", "{path}\n"),
    ),
    Family(
        "codegeex4", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", "spm",
        stop=("<|user|>", "<|endoftext|>"), name_pattern=r"(?i)codegeex",
        opening=("<|user|>", "\n###PATH:{path}\n###MODE:BLOCK\n"),
        closing=("<|assistant|>", "\n"),
    ),
    Family(
        "granite4", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
        stop=("<|end_of_text|>", "<|fim_pad|>"), name_pattern=r"(?i)granite",
    ),
    Family(
        "granite3", "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        repo="<reponame>", stop=("<|end_of_text|>",), name_pattern=r"(?i)granite",
    ),
    Family(
        "codeqwen", "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        repo="<reponame>", file="<file_sep>", stop=("<|endoftext|>", "<file_sep>"),
        name_pattern=r"(?i)codeqwen",
    ),
    Family(
        "codegemma", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
        file="<|file_separator|>", stop=("<|file_separator|>",), name_pattern=r"(?i)gemma",
    ),
    Family(
        "qwen-coder", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
        repo="<|repo_name|>", file="<|file_sep|>",
        stop=("<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    ),
    Family(
        "refact", "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        repo="<reponame>", stop=("<|endoftext|>", "<empty_output>"), name_pattern=r"(?i)refact",
    ),
    Family(
        "starcoder", "<fim_prefix>", "<fim_suffix>", "<fim_middle>",
        repo="<repo_name>", file="<file_sep>",
        stop=("<|endoftext|>", "<file_sep>", "<filename>", "<repo_name>", "<reponame>"),
    ),
    Family("santacoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", stop=("<|endoftext|>",)),
    Family("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", stop=("▁<EOT>",)),
    Family(
        "deepseek-coder", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>",
        stop=("<｜end▁of▁sentence｜>",),
    ),
    Family("codestral", "[PREFIX]", "[SUFFIX]", order="spm", stop=("[PREFIX]", "[SUFFIX]")),
    Family(
        "glm", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", stop=("<|endoftext|>",)
    ),
    Family(
        "seed-coder", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", "spm",
        stop=("<[end▁of▁sentence]>",),
    ),
    Family("falcon-h1", "<|prefix|>", "<|suffix|>", "<|middle|>", stop=("<|endoftext|>",)),
)  # fmt: skip


DECLARED = Family("declared")  # the GGUF declares sentinel ids, but no row of the table matches
_BY_NAME = {family.name: family for family in (*FAMILIES, PLAIN, DECLARED)}


def family_by_name(name: str) -> Family:
    return _BY_NAME[name]


@dataclass(frozen=True, slots=True)
class Match:
    """Describes a model's family with the token ids of the model: `roles` holds the sentinels."""

    family: Family
    order: Order
    roles: Mapping[Role, int] = field(default_factory=dict)
    stop_ids: frozenset[int] = frozenset()


def typed_placement(
    family: Family, order: Order, wanted: Typed | Literal["auto"] = "auto"
) -> Typed:
    """Returns where typed text goes in the prompt.

    Families without a measurement: after the middle sentinel in `psm` order, since each key would
    otherwise invalidate the suffix; before it in other orders, where the prefix comes last anyway.
    """
    if wanted != "auto":
        return wanted
    if family.typed and order == family.order:
        return family.typed
    return "after_mid" if order == "psm" else "prefix"


def recognise(
    name: str,
    declared: Mapping[Role, int],
    find: Callable[[str], int | None],
    order: Order | Literal["auto"] = "auto",
) -> Match:
    """Returns the family of a model.

    `name`: the GGUF's `general.name`. `declared`: the sentinel ids that the GGUF declares, which
    take precedence over spellings. `find`: returns the id of a token by its spelling. A model
    without prefix and suffix tokens is PLAIN, even if it has a repository token.
    """
    for family in FAMILIES:
        if family.name_pattern and not re.search(family.name_pattern, name):
            continue
        roles = _roles(family, declared, find)
        if "pre" in roles and "suf" in roles and ("mid" in roles or not family.mid):
            return _match(family, roles, find, order)
    if {"pre", "suf", "mid"} <= declared.keys():
        return _match(DECLARED, dict(declared), find, order)
    return Match(PLAIN, "psm")


def _roles(
    family: Family, declared: Mapping[Role, int], find: Callable[[str], int | None]
) -> dict[Role, int]:
    if not family.spellings:  # a family recognised by name alone
        return dict(declared)
    spelled: dict[Role, int] = {}
    for role, text in (("pre", family.pre), ("suf", family.suf), ("mid", family.mid)):
        if text and (token := find(text)) is not None:
            spelled[role] = token  # type: ignore[index]
    if len(spelled) < len(family.spellings):
        return {}
    return spelled | {role: token for role, token in declared.items() if role in spelled}


def _match(
    family: Family,
    roles: dict[Role, int],
    find: Callable[[str], int | None],
    order: Order | Literal["auto"],
) -> Match:
    spelled = (find(text) for text in family.stop)
    stop_ids = {token for token in spelled if token is not None} | set(roles.values())
    return Match(family, family.order if order == "auto" else order, roles, frozenset(stop_ids))
