"""docs/TROUBLESHOOTING.md is a table of exact sentences: each is one that the code can print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text()
ROW = re.compile(r"^\| (?!---|sentence|line \|)(.*?) \|(?: (.*?) \|)?", re.M)
SENTENCES = [
    sentence
    for row in ROW.finditer(PAGE)
    if not row[1].startswith(("`gate`", "`answer`"))
    for sentence in row[1].split("<br>")
]
REASONS = [
    reason
    for row in ROW.finditer(PAGE)
    if row[1].startswith(("`gate`", "`answer`"))
    for reason in re.findall(r"`(\w+)`", row[2])
]


def _strings() -> Iterator[str]:
    """Yields the strings of the code but docstrings; values that are filled in are `…`."""
    for path in sorted((ROOT / "server" / "llmd").rglob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…"
                         for part in node.values]  # fmt: skip
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and id(node) not in docs:
                yield re.sub(r"%[sd]", "…", str(node.value))


STRINGS = set(_strings())
# A sentence may be put together of a subject in backticks and what is wrong with it.
ALL_STRINGS = "\n".join(STRINGS).replace("`", "")


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_one_of_the_code(sentence: str) -> None:
    parts = (part.strip() for part in sentence.replace("`", "").split("…"))
    assert [part for part in parts if part not in ALL_STRINGS] == []


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_one_of_the_code(reason: str) -> None:
    assert reason in STRINGS


def test_the_page_has_its_sentences() -> None:
    assert len(SENTENCES) > 60
    assert len(REASONS) > 10
