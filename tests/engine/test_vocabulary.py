"""Tests real vocabularies: families are recognised, prompts follow the family's order, and text
never becomes a special token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.vocabularies import NAMES, vocabulary_path

from llmd.context.window import Excerpt
from llmd.prompt.build import build_prompt
from llmd.prompt.families import Match, Order, recognise
from llmd.worker.llama import Model, Vocabulary
from llmd.worker.prompt_tokens import DROP_STEP, MAX_TYPED, LoadedModel, tokenize_prompt, truncation
from llmd.worker.token_healing import HealingTable, n_healed_tokens

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
    # Some of these files have no name; only the vocabulary identifies their family.
    return model, recognise(name, vocabulary.declared, vocabulary.find)


def engine_of(model: Model, match: Match, n_ctx: int = 2048) -> LoadedModel:
    """Fakes all that building a prompt needs."""
    return cast(
        LoadedModel,
        SimpleNamespace(
            context=SimpleNamespace(n_ctx=n_ctx),
            vocabulary=model.vocabulary,
            match=match,
            table=HealingTable(model.vocabulary.text_pieces()),
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
def test_a_prompt_follows_the_family_s_order(name: str) -> None:
    model, match = load(name)
    vocabulary = model.vocabulary
    engine = engine_of(model, match)
    pieces = build_prompt(match.family, match.order, EXCERPT, "add.py")
    tokens = list(tokenize_prompt(engine, pieces, 64).tokens)
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
    """Sentencepiece writes a space as U+2581, and cannot distinguish the two."""
    is_sentencepiece = joined(vocabulary, vocabulary.tokenize("\u2581")) == " "
    return text.replace("\u2581", " ") if is_sentencepiece else text


def special_ids(vocabulary: Vocabulary) -> set[int]:
    tokens = {vocabulary.find(text) for text in SPECIALS} | set(vocabulary.declared.values())
    return {token for token in tokens if token is not None}


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
    pieces = build_prompt(match.family, match.order, long, "x.py")
    tokens = tokenize_prompt(engine_of(model, match), pieces, 64).tokens
    assert len(tokens) <= 2048 - 64
    suf = tokens.index(match.roles["suf"])
    assert tuple(tokens[suf - 30 : suf]) == tokenize(long.prefix)[-30:]
    assert tuple(tokens[suf + 1 : suf + 30]) == tokenize(long.suffix)[:29]


@given(st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 4000))
def test_drops_make_it_fit(n_prefix: int, n_suffix: int, room: int) -> None:
    from_prefix, from_suffix = truncation(n_prefix, n_suffix, room)
    assert 0 <= from_prefix <= n_prefix
    assert 0 <= from_suffix <= n_suffix
    assert n_prefix + n_suffix - from_prefix - from_suffix <= room
    if n_prefix + n_suffix <= room:
        assert (from_prefix, from_suffix) == (0, 0)


def test_typing_moves_the_start_once_in_many_keys() -> None:
    cuts = [truncation(1800 + n_typed, 100, 1900) for n_typed in range(DROP_STEP)]
    assert len(set(cuts)) <= 2


def typed_prompt(name: str, prefix: str, n_typed: int, order: Order = "psm") -> tuple[str, ...]:
    """Returns prefix, typed text and draft of a prompt as the text of their tokens."""
    model, match = load(name)
    place = Excerpt(prefix, "SUFFIX", "", "", "", n_typed)
    pieces = build_prompt(match.family, order, place, "x.py", "after_mid", heal=True)
    prompt = tokenize_prompt(engine_of(model, match), pieces, 64)
    pre, suf, mid = (prompt.tokens.index(match.roles[role]) for role in ("pre", "suf", "mid"))
    end = suf if pre < suf else mid
    parts = (prompt.tokens[pre + 1 : end], prompt.tokens[mid + 1 :], prompt.draft)
    assert b"".join(map(model.vocabulary.piece, prompt.draft)) == prompt.pending_bytes
    return tuple(joined(model.vocabulary, part) for part in parts)


FAMILY_NAMES = ("starcoder", "refact", "deepseek-coder")
LINES = "def f(a):\n    x = 1\n"


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("order", ["psm", "spm"])
@pytest.mark.parametrize(
    ("typed", "kept", "pending"),
    [
        ("    retur", "\n   ", " retur"),
        ("    return a + b", "\n    return a +", " b"),
        ("    ", "", "\n    "),
        ("    s = 'h\u00e9", "\n    s = '", "h\u00e9"),
    ],
)
def test_typed_text_begins_before_its_newline_and_ends_before_its_last_word(
    name: str, order: Order, typed: str, kept: str, pending: str
) -> None:
    assert typed_prompt(name, LINES + typed, len(typed), order) == (LINES[:-1], kept, pending)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_typed_newline_is_after_the_anchor(name: str) -> None:
    assert typed_prompt(name, LINES, 0) == (LINES[:-1], "", "\n")


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_word_that_grows_moves_nothing_before_it(name: str) -> None:
    line = "    completer_configuration"
    keys = [line[:n] for n in range(14, len(line) + 1)]
    kept = {typed_prompt(name, LINES + key, len(key))[:2] for key in keys if key[-1] != "_"}
    assert {prefix for prefix, _ in kept} == {LINES[:-1]}
    assert len(kept) <= 2, "one for each part of the name"


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_anchor_stays_while_a_line_is_typed(name: str) -> None:
    line = "\t\tif naïve(x):  # ok"
    prefixes = {typed_prompt(name, LINES + line[:n], n)[0] for n in range(len(line) + 1)}
    assert prefixes == {LINES[:-1]}


def test_typed_text_is_bounded_in_steps() -> None:
    sizes = []
    model, match = load("starcoder")
    engine = engine_of(model, match)
    for n_words in range(100, 900, 7):
        place = Excerpt("x\n" + "a b " * n_words, "", "", "", "", 4 * n_words)
        prompt = tokenize_prompt(
            engine, build_prompt(match.family, "psm", place, "x", "after_mid", True), 64
        )
        sizes.append(len(prompt.tokens) - prompt.tokens.index(match.roles["mid"]))
    assert max(sizes) <= MAX_TYPED + 1
    assert min(sizes[-50:]) >= MAX_TYPED // 2


@pytest.mark.parametrize("name", NAMES)
def test_the_table_holds_the_tokens_of_any_text_and_no_special_one(name: str) -> None:
    vocabulary = Model(vocabulary_path(name), vocab_only=True).vocabulary
    pieces = vocabulary.text_pieces()
    ids = {token for _, token in pieces}
    assert not ids & special_ids(vocabulary)
    assert not any(map(vocabulary.is_eog, ids))
    assert all(piece for piece, _ in pieces)
    for text in TEXTS:
        assert set(vocabulary.tokenize(text)) <= ids
        assert HealingTable(pieces).covers(text.encode())


@pytest.mark.parametrize(
    "line",
    ["    self.append(", "\tcompleter_conf", "x = (selfish", "if a is not None:\n  retur",
     "a.b.cde", "f('nameof", "s = 'naïveté 日本語", "\r\n\r\n  # 🙂👨‍👩‍👧 ok"],
)  # fmt: skip
def test_the_stable_prefix_only_grows_with_the_text(vocabulary: Vocabulary, line: str) -> None:
    """Then each key finds all tokens before its word in the cache."""
    table, before = HealingTable(vocabulary.text_pieces()), ()
    for n_chars in range(len(line) + 1):
        tokens = vocabulary.tokenize("def f(a):\n" + line[:n_chars])
        kept = tokens[: len(tokens) - n_healed_tokens(tokens, vocabulary.piece, table)]
        assert kept[: len(before)] == before
        before = kept
