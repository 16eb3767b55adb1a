"""Every family of the table, through llama.cpp, from a toy GGUF with its names and ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.toy_gguf import special_spellings, write_vocabulary

from llmd.context.window import Excerpt
from llmd.engine.llama import Model, Vocabulary
from llmd.prompt.build import Piece, build
from llmd.prompt.families import FAMILIES, Family, recognise

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
DECLARED = {"pre": 11, "suf": 6, "mid": 3}
PLACE = Excerpt("def f():", " return <|endoftext|>", "def f():", "", "")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_prompt_has_the_family_s_ids_at_the_family_s_places(
    family: Family, tmp_path: Path
) -> None:
    declared = {} if family.spellings else DECLARED
    write_vocabulary(tmp_path / "toy.gguf", NAMES.get(family.name, "toy"), family, declared)
    vocabulary = Model(tmp_path / "toy.gguf", vocab_only=True).vocabulary
    name = NAMES.get(family.name, "toy")
    match = recognise(name, vocabulary.declared, vocabulary.find)
    assert (match.family.name, match.order) == (family.name, family.order)
    special = {text: vocabulary.n_tokens - len(special_spellings(family)) + i
               for i, text in enumerate(special_spellings(family))}  # fmt: skip
    for piece in build(match.family, match.order, PLACE, "main.py"):
        if piece.name in ("pre", "suf", "mid"):
            expected = getattr(family, piece.name)
            assert match.roles[piece.name] == (
                special[expected] if expected else declared[piece.name]
            )
        elif piece.name == "token":
            assert vocabulary.find(piece.text) == special[piece.text]
        else:
            _is_plain(vocabulary.tokenize(piece.text), piece, special, vocabulary)


def _is_plain(
    tokens: tuple[int, ...], piece: Piece, special: dict[str, int], vocabulary: Vocabulary
) -> None:
    """No special token, and the text itself."""
    assert not set(tokens) & set(special.values())
    assert b"".join(map(vocabulary.piece, tokens)).decode() == piece.text
