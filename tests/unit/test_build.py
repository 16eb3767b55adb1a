"""Tests the pieces of a prompt by family: sentinels as marks, the rest as text."""

from __future__ import annotations

import pytest

from llmd.context.window import Excerpt
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import FAMILIES, Family, Order, Typed, family_by_name

PLACE = Excerpt("PREFIX", "SUFFIX", "head", "tail", "next")
PRE_SUF = [("pre", ""), ("prefix", "PREFIX"), ("suf", ""), ("suffix", "SUFFIX")]
SUF_PRE = PRE_SUF[2:] + PRE_SUF[:2]
MID = [("mid", "")]

SPECIAL = {
    "mellum": [("token", "<filename>"), ("frame", "a.py\n"), *SUF_PRE, *MID],
    "codegeex4": [
        ("token", "<|user|>"),
        ("frame", "\n###PATH:a.py\n###MODE:BLOCK\n"),
        *SUF_PRE,
        *MID,
        ("token", "<|assistant|>"),
        ("frame", "\n"),
    ],
    "codestral": SUF_PRE,
    "plain": [("prefix", "PREFIX")],
    "declared": PRE_SUF + MID,
    "smollm2-fim": SUF_PRE + MID,
}
COMMON = [family.name for family in FAMILIES if family.name not in SPECIAL]


def rendered(name: str, order: Order | None = None) -> list[tuple[str, str]]:
    family = family_by_name(name)
    return [(p.name, p.text) for p in build_prompt(family, order or family.order, PLACE, "a.py")]


@pytest.mark.parametrize(("name", "expected"), SPECIAL.items(), ids=SPECIAL)
def test_a_family_with_a_form_of_its_own_has_it(name: str, expected: list[tuple[str, str]]) -> None:
    assert rendered(name) == expected


@pytest.mark.parametrize("name", COMMON)
def test_the_other_families_differ_in_order_only(name: str) -> None:
    assert rendered(name, "psm") == PRE_SUF + MID
    assert rendered(name, "spm") == SUF_PRE + MID
    assert rendered(name) == rendered(name, family_by_name(name).order)


@pytest.mark.parametrize("order", ["psm", "spm", "spm2"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_sentinel_is_spelled_as_text(family: Family, order: Order) -> None:
    special = (*family.spellings, *family.stop, family.repo, family.file)
    pieces = build_prompt(family, order, PLACE, "a.py")
    texts = [piece.text for piece in pieces if piece.name != "token"]
    assert not [s for s in special if s and any(s in text for text in texts)]
    assert all(not piece.text for piece in pieces if piece.name in ("pre", "suf", "mid"))


def test_a_file_named_like_a_token_stays_text() -> None:
    pieces = build_prompt(family_by_name("mellum"), "spm", PLACE, "<fim_middle>")
    assert pieces[1] == Piece("frame", "<fim_middle>\n")


def test_a_sentinel_typed_by_the_user_stays_text() -> None:
    place = Excerpt("<fim_middle>", "<|endoftext|>", "", "", "")
    pieces = build_prompt(family_by_name("starcoder"), "psm", place, "a.py")
    assert pieces[1] == Piece("prefix", "<fim_middle>")
    assert pieces[3] == Piece("suffix", "<|endoftext|>")


TYPED = Excerpt("PREFIX", "SUFFIX", "head", "tail", "next", 3)
PRE_PART, TYPED_PART = ("prefix", "PRE"), ("typed", "FIX")


@pytest.mark.parametrize(
    ("order", "typed", "expected"),
    [
        ("psm", "prefix", [*PRE_SUF, *MID]),
        ("psm", "after_mid", [PRE_SUF[0], PRE_PART, *PRE_SUF[2:], *MID, TYPED_PART]),
        ("spm", "prefix", [*SUF_PRE, *MID]),
        ("spm", "after_mid", [*SUF_PRE[:3], PRE_PART, *MID, TYPED_PART]),
        ("spm2", "prefix", [("pre", ""), *SUF_PRE[:2], *MID, ("prefix", "PREFIX")]),
        ("spm2", "after_mid", [("pre", ""), *SUF_PRE[:2], *MID, ("prefix", "PREFIX")]),
    ],
)
@pytest.mark.parametrize("heal", [True, False])
def test_typed_placement(
    order: Order, typed: Typed, expected: list[tuple[str, str]], heal: bool
) -> None:
    pieces = build_prompt(family_by_name("starcoder"), order, TYPED, "a.py", typed, heal)
    assert [(p.name, p.text) for p in pieces] == [*expected, *([("heal", "")] if heal else [])]


def test_typed_text_follows_the_closing_pieces() -> None:
    pieces = build_prompt(family_by_name("codegeex4"), "spm", TYPED, "a.py", "after_mid")
    assert [(p.name, p.text) for p in pieces[-2:]] == [("frame", "\n"), TYPED_PART]


def test_without_sentinels_all_is_prefix() -> None:
    pieces = build_prompt(family_by_name("plain"), "psm", TYPED, "a.py", "after_mid", True)
    assert pieces == (Piece("prefix", "PREFIX"), Piece("heal"))
