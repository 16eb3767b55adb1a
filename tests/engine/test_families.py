"""Tests every family through llama.cpp, with a toy GGUF of its token names and ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.toy_gguf import special_spellings, write_vocabulary
from tests.support.vocabularies import vocabulary_path

from llmd.context.window import Excerpt
from llmd.models.catalog import catalog
from llmd.models.catalog_schema import Entry
from llmd.models.hub_reference import HubFile
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import FAMILIES, Family, family_by_name, recognise
from llmd.worker.llama import Model, Vocabulary

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
    for piece in build_prompt(match.family, match.order, PLACE, "main.py"):
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
    """Checks that the text has no special token and round-trips."""
    assert not set(tokens) & set(special.values())
    assert b"".join(map(vocabulary.piece, tokens)).decode() == piece.text


# The vocabularies among llama.cpp's sources that a family of the catalog was trained with;
# Granite's code models have StarCoder's. The others are rendered from a toy, above.
OF_FAMILY = {"starcoder": "starcoder", "granite3": "starcoder", "deepseek-coder": "deepseek-coder"}
ENTRIES = [*catalog().values()]


def model_name(entry: Entry) -> str:
    """Returns the model's name as GGUF conversions have it: the file name without quantisation."""
    source = entry.variants[0].source
    assert isinstance(source, HubFile)
    return source.file.removesuffix(".gguf").replace(entry.variants[0].quantisation, "").strip("-.")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_of_the_catalog_is_recognised_as_its_family(entry: Entry, tmp_path: Path) -> None:
    family = family_by_name(entry.family)
    write_vocabulary(tmp_path / "toy.gguf", model_name(entry), family, {})
    vocabulary = Model(tmp_path / "toy.gguf", vocab_only=True).vocabulary
    match = recognise(model_name(entry), vocabulary.declared, vocabulary.find)
    assert (match.family.name, match.order) == (entry.family, entry.order)


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.family in OF_FAMILY], ids=lambda entry: entry.name
)
def test_an_entry_of_the_catalog_renders_with_its_real_vocabulary(entry: Entry) -> None:
    vocabulary = Model(vocabulary_path(OF_FAMILY[entry.family]), vocab_only=True).vocabulary
    match = recognise(model_name(entry), vocabulary.declared, vocabulary.find)
    family = match.family
    assert (family.name, match.order) == (entry.family, entry.order)
    # The sentinel ids that llama.cpp finds equal those of our table's spellings.
    assert match.roles == vocabulary.declared
    assert {role: vocabulary.find(getattr(family, role)) for role in match.roles} == match.roles
    special = {text: token for role, token in match.roles.items()
               if (text := getattr(family, role))}  # fmt: skip
    names = []
    for piece in build_prompt(family, match.order, PLACE, "main.py"):
        names.append(piece.name)
        if piece.name not in ("pre", "suf", "mid", "token"):
            _is_plain(vocabulary.tokenize(piece.text), piece, special, vocabulary)
    assert [name for name in names if name in ("pre", "suf", "mid")] == ["pre", "suf", "mid"]
