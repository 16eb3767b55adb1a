"""Tests that every family is recognised from, and rendered with, a toy vocabulary of its token
names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from llmd.context.window import Excerpt
from llmd.prompt.build import build_prompt
from llmd.prompt.families import FAMILIES, Family, Order, Role, Typed, recognise, typed_placement

PLACE = Excerpt("PREFIX", "SUFFIX", "PREFIX", "SUFFIX", "")
NAMES = {
    "smollm2-fim": "SmolLM2-135M-FIM",
    "mellum": "Mellum-4b-base",
    "codegeex4": "CodeGeeX4-All-9B",
    "granite4": "Granite-4.0-H",
    "granite3": "Granite-3.3-8b-base",
    "codeqwen": "CodeQwen1.5-7B",
    "codegemma": "codegemma-2b",
    "refact": "Refact-1.6B",
}
DECLARED: dict[Role, int] = {"pre": 11, "suf": 6, "mid": 3}


def vocabulary(family: Family) -> Callable[[str], int | None]:
    opening = [part for part in (*family.opening, *family.closing) if part.startswith("<")]
    spellings = [*family.spellings, family.repo, family.file, *family.stop, *opening]
    ids = {text: 100 + i for i, text in enumerate(dict.fromkeys(spellings)) if text}
    return ids.get


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_found_by_its_name_and_tokens(family: Family) -> None:
    declared = {} if family.spellings else DECLARED
    match = recognise(NAMES.get(family.name, "model"), declared, vocabulary(family))
    assert match.family.name == family.name
    assert match.order == family.order
    assert set(match.roles) == {"pre", "suf"} | ({"mid"} if family.mid or declared else set())
    assert set(match.roles.values()) <= match.stop_ids


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_renders_in_its_order_without_spelling_a_sentinel(family: Family) -> None:
    pieces = build_prompt(family, family.order, PLACE, "main.py")
    body = [p.name for p in pieces if p.name in ("pre", "prefix", "suf", "suffix", "mid")]
    pre, suf = ["pre", "prefix"], ["suf", "suffix"]
    middle = [] if family.name == "codestral" else ["mid"]
    assert body == (pre + suf if family.order == "psm" else suf + pre) + middle
    texts = "".join(p.text for p in pieces if p.name != "token")
    assert not any(spelling in texts for spelling in family.spellings)


@pytest.mark.parametrize(
    ("name", "rendered"),
    [
        ("qwen-coder", ["pre", "PREFIX", "suf", "SUFFIX", "mid"]),
        ("codestral", ["suf", "SUFFIX", "pre", "PREFIX"]),
        ("mellum", ["<filename>", "main.py\n", "suf", "SUFFIX", "pre", "PREFIX", "mid"]),
        (
            "codegeex4",
            [
                "<|user|>",
                "\n###PATH:main.py\n###MODE:BLOCK\n",
                *("suf", "SUFFIX", "pre", "PREFIX", "mid"),
                "<|assistant|>",
                "\n",
            ],
        ),
    ],
)
def test_the_exact_prompt(name: str, rendered: list[str]) -> None:
    family = next(family for family in FAMILIES if family.name == name)
    pieces = build_prompt(family, family.order, PLACE, "main.py")
    assert [piece.text or piece.name for piece in pieces] == rendered


def test_a_repository_token_alone_does_not_imply_fim() -> None:
    match = recognise("SmolLM2-135M", {}, {"<reponame>": 4}.get)
    assert match.family.name == "plain"
    assert [p.name for p in build_prompt(match.family, match.order, PLACE, "a.py")] == ["prefix"]


def test_ids_that_the_file_declares_win_over_spellings() -> None:
    family = next(family for family in FAMILIES if family.name == "starcoder")
    match = recognise("model", {"pre": 7}, vocabulary(family))
    assert match.roles["pre"] == 7


def test_declared_ids_of_no_known_family_are_used() -> None:
    match = recognise("model", DECLARED, lambda _: None)
    assert (match.family.name, match.order, match.roles) == ("declared", "psm", DECLARED)


def test_the_order_of_the_config_overrules_the_family() -> None:
    assert recognise("SmolLM2-FIM", DECLARED, lambda _: None, "psm").order == "psm"


@pytest.mark.parametrize(
    ("form", "name", "expected"),
    [
        ("<fim_{}>", "Mellum-4b-base", "mellum"),
        ("<fim_{}>", "Granite-3.3-8b-base", "granite3"),
        ("<fim_{}>", "CodeQwen1.5-7B", "codeqwen"),
        ("<fim_{}>", "Refact-1.6B", "refact"),
        ("<fim_{}>", "starcoder2-3b", "starcoder"),
        ("<|fim_{}|>", "Granite-4.0-H", "granite4"),
        ("<|fim_{}|>", "codegemma-2b", "codegemma"),
        ("<|fim_{}|>", "Qwen2.5 Coder 1.5B", "qwen-coder"),
        ("<|code_{}|>", "CodeGeeX4-All-9B", "codegeex4"),
        ("<|code_{}|>", "GLM 4 9B", "glm"),
    ],
)
def test_a_name_distinguishes_families_with_equal_tokens(
    form: str, name: str, expected: str
) -> None:
    tokens = {form.format(part): n for n, part in enumerate(("prefix", "suffix", "middle"))}
    assert recognise(name, {}, tokens.get).family.name == expected


@pytest.mark.parametrize("name", NAMES.values())
def test_a_name_alone_does_not_imply_fim(name: str) -> None:
    assert recognise(name, {}, lambda _: None).family.name == "plain"


@pytest.mark.parametrize(
    ("measured", "order", "wanted", "expected"),
    [
        (None, "psm", "auto", "after_mid"),
        (None, "spm", "auto", "prefix"),
        (None, "spm2", "auto", "prefix"),
        ("after_mid", "spm", "auto", "after_mid"),
        ("prefix", "psm", "auto", "after_mid"),
        ("after_mid", "spm", "prefix", "prefix"),
        (None, "spm", "after_mid", "after_mid"),
    ],
)
def test_typed_placement(
    measured: Typed | None, order: Order, wanted: Literal["auto"] | Typed, expected: Typed
) -> None:
    """A measured placement applies to the family's own order only, here `spm`."""
    assert typed_placement(Family("f", order="spm", typed=measured), order, wanted) == expected


@pytest.mark.parametrize("order", ["psm", "spm", "spm2"])
def test_any_order_can_be_asked_for(order: Order) -> None:
    assert recognise("SmolLM2-FIM", DECLARED, lambda _: None, order).order == order
