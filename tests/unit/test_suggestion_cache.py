"""Answers that need no model."""

from __future__ import annotations

import pytest

from llmd.completion.output_processor import (
    MAX_DOCUMENTS,
    MAX_SUGGESTIONS,
    CachedSuggestion,
    SuggestionCache,
)
from llmd.context.window import Excerpt


def at(prefix: str, suffix: str = "\n", n_closers: int = 0) -> Excerpt:
    return Excerpt(prefix, suffix, prefix, "", "", n_closers=n_closers)


@pytest.mark.parametrize(
    ("excerpt", "rest"),
    [
        (at("x = "), "foo(a)"),
        (at("x = fo"), "o(a)"),
        (at("x = foo(", ")\n", 1), "a)"),
        (at("x = foo(a)"), None),
        (at("x = bar"), None),
        (at("x ="), None),
        (at("x = f", "\ny\n"), None),
        (at("z = f"), None),
    ],
    ids=["return", "type", "closer", "all", "else", "back", "below", "above"],
)
def test_typing_what_was_said_leaves_the_rest(excerpt: Excerpt, rest: str | None) -> None:
    recall = SuggestionCache()
    recall.add(1, CachedSuggestion("x = ", "\n", "foo(a)"))
    found = recall.find(1, excerpt)
    assert (found and found[1]) == rest
    assert recall.find(2, excerpt) is None


def test_nothing_said_is_remembered_at_its_place_only() -> None:
    recall = SuggestionCache()
    recall.add(1, CachedSuggestion("x", "\n", ""))
    assert recall.find(1, at("x")) == (CachedSuggestion("x", "\n", ""), "")
    assert recall.find(1, at("xy")) is None


def test_the_newest_answer_holds() -> None:
    recall = SuggestionCache()
    recall.add(1, CachedSuggestion("x", "\n", "ab"))
    recall.add(1, CachedSuggestion("xa", "\n", "c"))
    found = recall.find(1, at("xa"))
    assert found
    assert found[1] == "c"


def test_what_is_kept_is_bounded_and_can_be_forgotten() -> None:
    recall = SuggestionCache()
    for document in range(MAX_DOCUMENTS + 1):
        for number in range(MAX_SUGGESTIONS + 1):
            recall.add(document, CachedSuggestion(f"{number} ", "\n", "a"))
    assert recall.find(0, at("5 ")) is None
    assert recall.find(1, at("0 ")) is None
    assert recall.find(1, at("1 "))
    recall.forget(1)
    assert recall.find(1, at("1 ")) is None
    recall.forget()
    assert recall.find(2, at("1 ")) is None
