"""Keeps evaluation sets out of the training text, by defined names and by n-grams.

A token is an identifier, a number or one punctuation mark; white space does not count. The method
is that of the data sections of GPT-3 and StarCoder.
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
# Common names: a file that defines one of these names need not solve an evaluation's problem.
PLAIN_NAMES = frozenset((
    "add", "fib", "factorize", "is_prime", "is_palindrome", "strlen", "unique", "common", "median",
    "concatenate", "solve", "solution", "encode", "digits", "search", "check",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guard:
    """Holds the names and n-grams that a training file must not share with an evaluation set."""

    grams: frozenset[int]  # hashes
    names: frozenset[str]

    def overlap(self, text: str) -> str:
        """Returns why a file must be left out; empty if the file may be used."""
        defined = set(_DEFINED.findall(text))
        if shared := (defined & self.names) - PLAIN_NAMES:
            return f"defines {min(shared)}"
        return "shares text" if any(gram in self.grams for gram in _grams(text)) else ""


def guard(sets: Iterable[Path]) -> Guard:
    """Collects the names and n-grams of every solution (prompt, middle and suffix) and its tests.

    Raises:
        OSError, ValueError: a set cannot be read. Training must not continue without this check.
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
