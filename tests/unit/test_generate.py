"""A request from pieces to text with a toy model: its logits hang on the tokens before, and its
context insists that each cell and each row of logits was asked for."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmd.config import SamplingConfig
from llmd.context.window import Excerpt
from llmd.engine.messages import Done, Generate
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import build_prompt
from llmd.prompt.families import Match, Order, Typed, family_by_name
from llmd.worker.generate import generate
from llmd.worker.kv_cache import KvCache
from llmd.worker.prompt_tokens import LoadedModel, tokenize_prompt
from llmd.worker.token_healing import HealingTable

WORDS = (b" ret", b"ur", b" return", b"return", b"\n    ", b"\n   ", b"ab", b"abc", b" a", b"()")
PIECES = [bytes([byte]) for byte in range(256)] + list(WORDS)
PRE, SUF, MID, EOG = range(len(PIECES), len(PIECES) + 4)
N_VOCAB = EOG + 1
GREEDY = SamplingConfig(profile="greedy")


def tokenize(text: str) -> tuple[int, ...]:
    """The longest token first."""
    data, tokens = text.encode(), []
    while data:
        best = max((piece for piece in PIECES if data.startswith(piece)), key=len)
        tokens.append(PIECES.index(best))
        data = data[len(best) :]
    return tuple(tokens)


class ToyContext:
    """`wish`: the text that the model wants to say after the prompt's words; else noise.

    `jitter`: by how much a token of a draft may see other logits than it would alone.
    """

    n_ctx = 512

    def __init__(
        self, n_batch: int = 64, can_cut: bool = True, wish: bytes = b"", jitter: float = 0.0
    ) -> None:
        self.n_batch, self.can_cut, self.wish, self.jitter = n_batch, can_cut, wish, jitter
        self.held: list[int] = []
        self.n_decodes = 0
        self._n_logits = 0

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        assert start == len(self.held)
        assert n_logits <= len(tokens) <= self.n_batch
        self.held += tokens
        self.n_decodes += 1
        self._n_logits = n_logits
        return 0

    def logits(self, n_before: int = 0) -> npt.NDArray[np.float32]:
        assert n_before < self._n_logits, "no logits were asked for there"
        before = self.held[: len(self.held) - n_before]
        # Whole numbers: never a near tie by chance, often one by equality.
        rng = random.Random(repr(before))
        logits = np.array([rng.randrange(40) for _ in range(N_VOCAB)], dtype=np.float32)
        if n_before < self._n_logits - 1:
            logits += np.array([rng.uniform(0, self.jitter) for _ in range(N_VOCAB)])
        self._wish_for(logits, b"".join(PIECES[t] for t in before if t < len(PIECES)))
        return logits

    def _wish_for(self, logits: npt.NDArray[np.float32], said: bytes) -> None:
        for n_said in range(len(self.wish), -1, -1):
            if self.wish and said.endswith(self.wish[:n_said]):
                rest = self.wish[n_said:]
                fits = [t for t, piece in enumerate(PIECES) if rest.startswith(piece)]
                logits[max(fits, key=lambda t: len(PIECES[t])) if rest else EOG] = 100
                return

    def seq_rm(self, start: int) -> bool:
        if self.can_cut:
            del self.held[start:]
            self._n_logits = 0
        return self.can_cut

    def clear(self) -> None:
        self.held.clear()


def engine_of(context: ToyContext) -> LoadedModel:
    vocabulary = SimpleNamespace(
        add_bos=False, bos=-1, eos=EOG, tokenize=tokenize,
        piece=lambda token: PIECES[token] if token < len(PIECES) else b"",
        is_eog=lambda token: token == EOG,
    )  # fmt: skip
    match = Match(family_by_name("declared"), "psm", {"pre": PRE, "suf": SUF, "mid": MID},
                  frozenset({PRE, SUF, MID}))  # fmt: skip
    table = HealingTable((piece, token) for token, piece in enumerate(PIECES))
    return LoadedModel(cast(Any, context), cast(Any, vocabulary), match, KvCache(context), table)


def ask(
    engine: LoadedModel,
    prefix: str,
    *,
    n_typed: int = 0,
    order: Order = "psm",
    typed: Typed = "prefix",
    heal: bool = True,
    sampling: SamplingConfig = GREEDY,
    max_tokens: int = 6,
    max_lines: int = 1,
    wants_bodies: bool = False,
    is_prefill: bool = False,
    n_looks: int = 1 << 20,
    alternative: int = 0,
) -> Done:
    """`n_looks`: how often it may look before it finds itself cancelled."""
    place = Excerpt(prefix, "S", "", "", "", n_typed)
    pieces = build_prompt(engine.match.family, order, place, "a.py", typed, heal)
    stop = StopRule(max_tokens, max_lines, 0, "", 60_000, wants_bodies=wants_bodies)
    request = Generate(1, pieces, stop, sampling, is_prefill=is_prefill, alternative=alternative)
    looks = iter(range(n_looks))
    return generate(
        engine, request, time.monotonic(), lambda: next(looks, None) is None, lambda _: None
    )


FORMS = [("psm", "prefix"), ("psm", "after_mid"), ("spm", "prefix"), ("spm", "after_mid"),
         ("spm2", "prefix")]  # fmt: skip


@pytest.mark.parametrize(("order", "typed"), FORMS)
@pytest.mark.parametrize(
    ("prefix", "wish", "text", "n_healed"),
    [
        ("x\n) retur", b" return a", "n a", 1),
        ("x\n) ret", b" return", "urn", 1),
        ("x\n) return", b" return a", " a", 1),
        ("x\n    ", b"\n    return", "return", 1),
        ("x\n    ", b"\n    ab", "ab", 1),
        ("f()", b"() a", " a", 1),
        ("'é", "éab".encode(), "ab", 2),
        ("x abca", b" abcab", "b", 4),
    ],
    ids=["inside", "token-border", "after-word", "indent", "indent-2", "sign", "accent", "parts"],
)
def test_what_is_owed_is_no_output(
    order: Order, typed: Typed, prefix: str, wish: bytes, text: str, n_healed: int
) -> None:
    done = ask(engine_of(ToyContext(wish=wish)), prefix, n_typed=4, order=order, typed=typed)
    assert (done.text, done.reason, done.cost.n_healed) == (text, "eog", n_healed)


def test_without_healing_a_word_begun_stays() -> None:
    done = ask(engine_of(ToyContext(wish=b"urn")), "x\n    ret", heal=False)
    assert (done.text, done.cost.n_healed) == ("urn", 0)


def test_the_own_tokens_cost_one_batch() -> None:
    context = ToyContext(wish=b" retur()")
    done = ask(engine_of(context), "x retur", max_tokens=1)
    assert (done.text, done.cost.n_healed, done.cost.n_decoded) == ("()", 2, 1)
    assert context.n_decodes == 1
    assert done.cost.n_drafted == done.cost.n_verified == 0


def test_another_token_takes_the_draft_s_place() -> None:
    context = ToyContext(wish=b" return")
    engine = engine_of(context)
    done = ask(engine, "x retur")
    assert done.text == "n"
    assert context.held == engine.cache.cells
    assert [PIECES[t] for t in context.held if t < len(PIECES)][-1] == b" return"
    assert context.n_decodes == 2


def test_what_pays_the_rest_and_goes_on_is_text_but_no_decoded_token() -> None:
    done = ask(engine_of(ToyContext(wish=b" return")), "x retur")
    assert (done.text, done.cost.n_healed, done.cost.n_decoded) == ("n", 1, 0)


@pytest.mark.parametrize("sampling", [GREEDY, SamplingConfig()])
def test_the_model_may_not_end_where_a_block_has_no_body(sampling: SamplingConfig) -> None:
    def done(wants_bodies: bool) -> Done:
        engine = engine_of(ToyContext(wish=b"ab:"))
        return ask(engine, "x\n", sampling=sampling, max_lines=3, wants_bodies=wants_bodies)

    plain, whole = done(False), done(True)
    assert (plain.text.strip(), plain.reason) == ("ab:", "eog")
    assert whole.text.startswith(plain.text)
    assert len(whole.text) > len(plain.text)


def test_half_a_character_is_whole_in_the_text() -> None:
    done = ask(engine_of(ToyContext(wish="naïv🙂".encode())), "'naï", max_tokens=12)
    assert done.text == "v🙂"


class Ranked(ToyContext):
    """At the first token that gives text: `abc`, the end, a newline, ` a`, `(`, then `)`."""

    def logits(self, n_before: int = 0) -> npt.NDArray[np.float32]:
        logits = super().logits(n_before)
        if len(self.held) - n_before == self.n_first:
            names = (b"abc", None, b"\n", b" a", b"(", b")")
            for rank, name in enumerate(names):
                logits[EOG if name is None else PIECES.index(name)] = 100 - rank
            logits[PIECES.index(b")")] = 80
        return logits

    n_first = len("|x|S|")


@pytest.mark.parametrize("sampling", [GREEDY, SamplingConfig(temperature=0.01)])
def test_an_alternative_begins_with_the_next_best_token(sampling: SamplingConfig) -> None:
    """Neither the end nor what the rule ends at once; what is too rare is none."""
    engine = engine_of(Ranked())
    done = [ask(engine, "x", sampling=sampling, heal=False, alternative=k) for k in range(5)]
    starts = ["abc", " a", "(", "", ""]
    assert [each.text.startswith(start) for each, start in zip(done, starts, strict=True)]
    assert [each.text[:1] for each in done] == ["a", " ", "(", "", ""]
    assert [each.reason == "alternative" for each in done] == [False, False, False, True, True]
    assert max(each.cost.n_prefill for each in done[1:]) == 1


def test_only_the_first_token_is_another() -> None:
    asked: dict[str, Any] = {"order": "spm2", "heal": False}
    other = ask(engine_of(Ranked()), "x", alternative=1, max_tokens=6, **asked)
    goes_on = ask(engine_of(Ranked()), "x a", max_tokens=5, **asked)
    assert goes_on.text
    assert other.text == f" a{goes_on.text}"


def test_a_sign_of_the_end_that_is_spelled_out_is_no_alternative() -> None:
    engine = engine_of(Ranked())
    vocabulary = cast(Any, engine.vocabulary)
    vocabulary.piece = lambda token: PIECES[token] if token < len(PIECES) else b"<end>"
    assert ask(engine, "x", heal=False, alternative=1).text[:2] == " a"


def test_the_tokens_that_pay_differ_too_where_they_give_text() -> None:
    """` return` pays what is owed and goes on; no other token of the vocabulary does."""
    engine = engine_of(ToyContext(wish=b" return"))
    assert ask(engine, "x retur").text == "n"
    none = ask(engine, "x retur", alternative=1)
    assert (none.text, none.reason) == ("", "alternative")


def test_owed_bytes_are_paid_before_an_alternative_parts() -> None:
    engine = engine_of(ToyContext(wish=b" retur()"))
    done = [ask(engine, "x retur", max_tokens=1, alternative=k) for k in range(3)]
    assert done[0].text == "()"
    assert len({each.text for each in done if each.text}) == len([1 for each in done if each.text])
    assert {each.cost.n_healed for each in done} == {2}


texts = st.lists(
    st.sampled_from(["ret", "ur", " return", "\n    ", "a", "b", "é", "🙂", "(", ")", "_", " "]),
    max_size=8,
).map("".join)
samplings = st.builds(
    SamplingConfig,
    st.sampled_from(["low", "greedy"]),
    st.just(1.5),
    st.just(0.0),
    st.integers(0, 99),
)


@settings(deadline=None, max_examples=60)
@given(texts, texts, st.sampled_from(FORMS), samplings, st.booleans())
def test_a_draft_and_what_was_cached_change_no_text(
    before: str, prefix: str, form: tuple[Order, Typed], sampling: SamplingConfig, can_cut: bool
) -> None:
    """Without a draft (no batch of two tokens), with one, and after another request."""
    order, typed = form
    alone = engine_of(ToyContext(n_batch=1))
    jitter = 0.4 if sampling.profile == "greedy" else 0.0
    warm_context = ToyContext(n_batch=7, can_cut=can_cut, jitter=jitter)
    warm = engine_of(warm_context)
    asked: dict[str, Any] = {"order": order, "typed": typed, "sampling": sampling, "n_typed": 0}
    ask(warm, before + prefix, **asked)
    done = [
        ask(engine, prefix, **asked)
        for engine in (alone, engine_of(ToyContext(jitter=jitter)), warm)
    ]
    assert len({each.text for each in done}) == 1
    assert len({each.cost.n_healed for each in done}) == 1
    assert warm.cache.cells == warm_context.held


@settings(deadline=None, max_examples=60)
@given(texts, st.sampled_from(FORMS), samplings)
def test_the_bytes_generated_begin_with_the_owed(
    prefix: str, form: tuple[Order, Typed], sampling: SamplingConfig
) -> None:
    order, typed = form
    context = ToyContext()
    engine = engine_of(context)
    pieces = build_prompt(
        engine.match.family, order, Excerpt(prefix, "S", "", "", ""), "a", typed, True
    )
    prompt = tokenize_prompt(engine, pieces, 6)
    done = ask(engine, prefix, order=order, typed=typed, sampling=sampling)
    after = context.held[len(prompt.tokens) :]
    said = b"".join(PIECES[token] for token in after if token < len(PIECES))
    assert said.startswith(prompt.pending_bytes) or prompt.pending_bytes.startswith(said)
    assert not any(token >= len(PIECES) for token in after[: done.cost.n_healed])


def test_draws_after_healing_are_those_without() -> None:
    """The index of a draw counts output, not what was owed: where the own token was drawn again,
    the cells are those of the prompt without healing."""
    n_own = 0
    for letter in string.ascii_letters:
        sampling = SamplingConfig(temperature=2, min_p=0.0, seed=5)
        healed, plain = engine_of(ToyContext()), engine_of(ToyContext())
        text = ask(healed, f"{letter}\n", order="spm2", sampling=sampling).text
        expected = ask(plain, f"{letter}\n", order="spm2", sampling=sampling, heal=False).text
        if healed.cache.cells[5] == plain.cache.cells[5]:
            n_own += 1
            assert text == expected
    assert 3 <= n_own < len(string.ascii_letters)


def test_a_memory_that_cannot_be_cut_is_made_anew_and_counted() -> None:
    context = ToyContext(wish=b" return", can_cut=False)
    engine = engine_of(context)
    done = ask(engine, "x retur")
    assert done.text == "n"
    assert context.held == engine.cache.cells
    n_prompt, n_draft = len("|x|S|"), 2
    assert done.cost.n_prefill == n_prompt + n_draft + n_prompt
    assert done.cost.n_prompt == done.cost.n_cached + done.cost.n_prefill


def test_such_a_memory_gets_no_draft_that_would_have_to_be_taken_back() -> None:
    context = ToyContext(wish=b" return", can_cut=False)
    engine = engine_of(context)
    engine.cache.can_cut = False
    done = ask(engine, "x retur")
    assert (done.text, done.cost.n_healed) == ("n", 1)
    assert done.cost.n_prefill == len("|x|S|")


def test_a_prefill_generates_nothing_and_lays_out_as_the_request_will() -> None:
    context = ToyContext(wish=b" return a")
    engine = engine_of(context)
    done = ask(engine, "x retur", is_prefill=True)
    assert (done.text, done.reason, done.cost.n_decoded) == ("", "tokens", 0)
    assert context.held == engine.cache.cells
    n_draft = 2
    then = ask(engine, "x retur")
    assert (then.text, then.cost.n_prefill) == ("n a", n_draft + 1)
    assert ask(engine, "x retur", max_tokens=0).reason == "tokens"


def test_a_prefill_that_is_cancelled_says_so() -> None:
    done = ask(engine_of(ToyContext(n_batch=4)), "x retur", is_prefill=True, n_looks=1)
    assert (done.reason, done.cost.n_prefill) == ("cancelled", 4)


def test_confidence_is_of_the_first_line() -> None:
    context = ToyContext(wish=b"(ab\nab")
    done = ask(engine_of(context), "(", max_lines=3, max_tokens=9)
    assert done.text == "ab\nab"
    assert -0.01 < done.cost.logprob_first <= 0
    assert -0.01 < done.cost.logprob_line <= 0
    unsure = ask(engine_of(ToyContext()), "(").cost
    assert unsure.logprob_line < -0.5


class FlatAfterNewline(ToyContext):
    def logits(self, n_before: int = 0) -> npt.NDArray[np.float32]:
        logits = super().logits(n_before)
        said = b"".join(PIECES[t] for t in self.held if t < len(PIECES))
        return logits / 100 if b"\n" in said else logits


def test_the_second_line_is_not_in_the_mean() -> None:
    done = ask(engine_of(FlatAfterNewline(wish=b"(ab\nab")), "(", max_lines=3, max_tokens=9)
    assert "\n" in done.text
    assert -0.01 < done.cost.logprob_line <= 0


def test_a_take_back_never_reaches_over_the_anchor() -> None:
    """The typed text's share of a small context is ten tokens, and five are given up at once."""
    context = ToyContext()
    context.n_ctx = 40
    engine = engine_of(context)
    place = Excerpt("x\n" + "c" * 11, "S", "", "", "", 11)
    prompt = tokenize_prompt(
        engine, build_prompt(engine.match.family, "psm", place, "a", "after_mid", True), 6
    )
    assert prompt.pending_bytes == b"c" * 7
    assert b"".join(PIECES[t] for t in prompt.tokens if t < len(PIECES)) == b"x\nccccS"


def test_nothing_said_has_no_confidence() -> None:
    cost = ask(engine_of(ToyContext(wish=b"()")), "()").cost
    assert (cost.n_decoded, cost.logprob_first, cost.logprob_line) == (0, 0.0, 0.0)
