"""Defines doctor's findings, and formats them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from llmd.errors import printable

# `note`: it works, and could be better. `problem`: it does not work.
Level = Literal["ok", "note", "problem"]
Topic = Literal["llama.cpp", "model", "memory", "daemon", "files", "editors", "this Neovim"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Reports the result of one check.

    `text`: one sentence. `fix`: what to do; empty at the level `ok`.
    """

    topic: Topic
    level: Level
    text: str
    fix: str = ""


def findings_text(findings: Sequence[Finding]) -> str:
    """Groups consecutive findings of a topic under its name."""
    groups = groupby(findings, lambda finding: finding.topic)
    blocks = ["\n".join([topic, *map(_lines, group)]) for topic, group in groups]
    n_notes = sum(finding.level == "note" for finding in findings)
    total = f"{_counted(count_problems(findings), 'problem')}, {_counted(n_notes, 'note')}."
    return "\n".join([*blocks, "", total])


def count_problems(findings: Sequence[Finding]) -> int:
    return sum(finding.level == "problem" for finding in findings)


def _lines(finding: Finding) -> str:
    line = f"  {finding.level:7}  {printable(finding.text)}"
    return f"{line}\n           Do: {printable(finding.fix)}" if finding.fix else line


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
