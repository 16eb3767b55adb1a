"""What `llmd doctor` has to say: findings, and how they are printed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from llmd.errors import printable

# `note`: it works, and could be better. `problem`: it does not work.
Level = Literal["ok", "note", "problem"]
Topic = Literal["llama.cpp", "model", "memory", "daemon", "files", "editors", "this Neovim"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`text`: one sentence. `fix`: what to do about it; empty where all is well."""

    topic: Topic
    level: Level
    text: str
    fix: str = ""


def as_text(findings: Sequence[Finding]) -> str:
    """Findings of a topic stand together, as they come."""
    blocks = []
    for topic, of_topic in groupby(findings, lambda each: each.topic):
        blocks.append("\n".join([topic, *map(_lines, of_topic)]))
    return "\n".join([*blocks, "", _sum(findings)])


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    """docs/PROTOCOL.md has its keys."""
    return {"n_problems": n_problems(findings), "findings": [asdict(each) for each in findings]}


def n_problems(findings: Sequence[Finding]) -> int:
    return sum(each.level == "problem" for each in findings)


def _lines(each: Finding) -> str:
    said = f"  {each.level:7}  {printable(each.text)}"
    return f"{said}\n           Do: {printable(each.fix)}" if each.fix else said


def _sum(findings: Sequence[Finding]) -> str:
    n_notes = sum(each.level == "note" for each in findings)
    return f"{_counted(n_problems(findings), 'problem')}, {_counted(n_notes, 'note')}."


def _counted(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
