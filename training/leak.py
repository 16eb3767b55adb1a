"""Keeps evaluation sets out of the training text: by the names that they define and by n-grams.

A token here is an identifier, a number or one punctuation mark; comments and layout do not count
for or against. The method is that of the data sections of GPT-3 and StarCoder.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

N_GRAM = 13

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")
_DEFINED = re.compile(r"^\s*(?:async )?(?:def|class|func|fn|function) (\w+)", re.MULTILINE)
# Names so plain that a file which defines one need not be about the evaluation's problem.
PLAIN_NAMES = frozenset((
    "add", "fib", "factorize", "is_prime", "is_palindrome", "strlen", "unique", "common", "median",
    "concatenate", "solve", "solution", "encode", "digits", "search", "check",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guard:
    """What a training file must not share with the evaluation."""

    grams: frozenset[int]  # hashes
    names: frozenset[str]

    def refuses(self, text: str) -> str:
        """Why a file is left out; empty when it may be used."""
        defined = set(_DEFINED.findall(text))
        if found := (defined & self.names) - PLAIN_NAMES:
            return f"defines {min(found)}"
        return "shares text" if any(gram in self.grams for gram in _grams(text)) else ""


def guard(sets: Iterable[Path]) -> Guard:
    """Of every sample's whole solution: prompt, middle and suffix, and of its tests.

    Raises:
        OSError, ValueError: a set cannot be read; training without the check is no option.
    """
    grams: set[int] = set()
    names: set[str] = set()
    for path in sets:
        for sample in _samples(path):
            text = sample["prompt"] + sample["canonical_solution"] + sample["suffix"]
            grams.update(_grams(text))
            grams.update(_grams(sample["test"]))
            names.add(sample["entry_point"])
    return Guard(frozenset(grams), frozenset(names))


def _samples(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def _grams(text: str) -> Iterator[int]:
    tokens = _TOKEN.findall(text)
    for start in range(len(tokens) - N_GRAM + 1):
        yield hash(tuple(tokens[start : start + N_GRAM]))
