"""Real vocabularies: families are recognised, prompts are laid out in their order, and text stays
text whatever it spells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.vocabularies import NAMES, vocabulary_path

from llmd.context.window import Excerpt
from llmd.engine.decode import DROP_STEP, Engine, drops, prompt_tokens
from llmd.engine.llama import Model, Vocabulary
from llmd.prompt.build import build
from llmd.prompt.families import Match, recognise

EXCERPT = Excerpt("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n", "    ", "", "print(add(1, 2))")
SPECIALS = (
    "<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<|fim_middle|>", "<pad>",
    "<|User|>", "<｜fim▁begin｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>",
    "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<reponame>", "<|||IP_ADDRESS|||>",
)  # fmt: skip
TEXTS = (
    *SPECIALS,
    *(f"x = '{special}'  # {special}{special}\n" for special in SPECIALS),
    "a\r\n\tb\r\n\r\n\t\tc\n",
    "  \n    indented\n        deeper",
    " leading", "\n", "\t", " ", "", "x", "🙂👨‍👩‍👧 naïve 日本語 \u2028 \x00 \x01",
    "<<pad>pad>", "<fim_<fim_prefix>prefix>",
)  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    loaded = Model(vocabulary_path(request.param), vocab_only=True)
    yield loaded
    loaded.close()


@pytest.fixture
def vocabulary(model: Model) -> Vocabulary:
    return model.vocabulary


def load(name: str) -> tuple[Model, Match]:
    model = Model(vocabulary_path(name), vocab_only=True)
    vocabulary = model.vocabulary
    # These files carry a name or none; what a family is told by there is the vocabulary.
    return model, recognise(name, vocabulary.declared, vocabulary.find)


def engine_of(model: Model, match: Match, n_ctx: int = 2048) -> Engine:
    """All that making a prompt needs."""
    return cast(
        Engine,
        SimpleNamespace(
            context=SimpleNamespace(n_ctx=n_ctx), vocabulary=model.vocabulary, match=match
        ),
    )


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("starcoder", "starcoder"),
        ("refact", "refact"),
        ("deepseek-coder", "deepseek-coder"),
        ("llama-spm", "plain"),
    ],
)
def test_families_are_recognised(name: str, family: str) -> None:
    assert load(name)[1].family.name == family


@pytest.mark.parametrize("name", ["starcoder", "refact", "deepseek-coder"])
def test_a_prompt_is_laid_out_in_the_family_s_order(name: str) -> None:
    model, match = load(name)
    vocabulary = model.vocabulary
    engine = engine_of(model, match)
    tokens = prompt_tokens(engine, build(match.family, match.order, EXCERPT, "add.py"), 64)
    bos = (vocabulary.bos,) if vocabulary.add_bos else ()
    assert tokens == [
        *bos,
        match.roles["pre"], *vocabulary.tokenize(EXCERPT.prefix),
        match.roles["suf"], *vocabulary.tokenize(EXCERPT.suffix),
        match.roles["mid"],
    ]  # fmt: skip
    spelled = [match.family.pre, match.family.suf, match.family.mid]
    assert [match.roles[role] for role in ("pre", "suf", "mid")] == [
        vocabulary.find(text) for text in spelled
    ]


def joined(vocabulary: Vocabulary, tokens: Sequence[int]) -> str:
    return b"".join(map(vocabulary.piece, tokens)).decode()


def joinable(vocabulary: Vocabulary, text: str) -> str:
    """Sentencepiece writes a space as U+2581 and cannot tell the two apart."""
    is_sentencepiece = joined(vocabulary, vocabulary.tokenize("\u2581")) == " "
    return text.replace("\u2581", " ") if is_sentencepiece else text


def special_ids(vocabulary: Vocabulary) -> set[int]:
    found = {vocabulary.find(text) for text in SPECIALS} | set(vocabulary.declared.values())
    return {token for token in found if token is not None}


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_text(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text)
    assert joined(vocabulary, tokens) == joinable(vocabulary, text)
    assert not special_ids(vocabulary) & set(tokens)
    assert not any(map(vocabulary.is_eog, tokens))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.lists(
        st.sampled_from([*SPECIALS, " ", "\n", "    ", "\t", "\r\n", "f(x)", "<", "|>", "é", "🙂"])
    ).map("".join)
)
def test_any_mixture_is_text(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.tokenize(text)
    assert joined(vocabulary, tokens) == joinable(vocabulary, text)
    assert not special_ids(vocabulary) & set(tokens)


def test_a_lone_surrogate_is_replaced(vocabulary: Vocabulary) -> None:
    assert joined(vocabulary, vocabulary.tokenize("a\udce9b")) == "a?b"


def test_a_prompt_too_long_loses_its_outer_ends() -> None:
    model, match = load("starcoder")
    tokenize = model.vocabulary.tokenize
    long = Excerpt("start\n" + "x = 1\n" * 1500, "y = 2\n" * 900 + "end\n", "", "", "")
    tokens = prompt_tokens(
        engine_of(model, match), build(match.family, match.order, long, "x.py"), 64
    )
    assert len(tokens) <= 2048 - 64
    suf = tokens.index(match.roles["suf"])
    assert tuple(tokens[suf - 30 : suf]) == tokenize(long.prefix)[-30:]
    assert tuple(tokens[suf + 1 : suf + 30]) == tokenize(long.suffix)[:29]


@given(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 4000))
def test_drops_make_it_fit(n_prefix: int, n_suffix: int, room: int) -> None:
    from_prefix, from_suffix = drops(n_prefix, n_suffix, room)
    assert 0 <= from_prefix <= n_prefix
    assert 0 <= from_suffix <= n_suffix
    assert n_prefix + n_suffix - from_prefix - from_suffix <= room
    if n_prefix + n_suffix <= room:
        assert (from_prefix, from_suffix) == (0, 0)


def test_typing_moves_the_start_once_in_many_keys() -> None:
    cuts = [drops(1800 + n_typed, 100, 1900) for n_typed in range(DROP_STEP)]
    assert len(set(cuts)) <= 2
