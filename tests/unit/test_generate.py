"""Tests a request from pieces to text with a toy model."""

from __future__ import annotations

import string
import time
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.toy_context import EOG, PIECES, ToyContext, engine_of

from llmd.config import SamplingConfig
from llmd.context.window import Excerpt
from llmd.engine.messages import Done, Generate
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import build_prompt
from llmd.prompt.families import Order, Typed
from llmd.worker.generate import generate
from llmd.worker.prompt_tokens import LoadedModel, tokenize_prompt

GREEDY = SamplingConfig(profile="greedy")


def run(
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
    """`n_looks`: number of checks before the request is cancelled."""
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
    ("prefix", "target", "text", "n_healed"),
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
def test_pending_bytes_are_not_output(
    order: Order, typed: Typed, prefix: str, target: bytes, text: str, n_healed: int
) -> None:
    done = run(engine_of(ToyContext(target=target)), prefix, n_typed=4, order=order, typed=typed)
    assert (done.text, done.reason, done.cost.n_healed) == (text, "eog", n_healed)


def test_without_healing_a_partial_word_stays() -> None:
    done = run(engine_of(ToyContext(target=b"urn")), "x\n    ret", heal=False)
    assert (done.text, done.cost.n_healed) == ("urn", 0)


def test_the_own_tokens_cost_one_batch() -> None:
    context = ToyContext(target=b" retur()")
    done = run(engine_of(context), "x retur", max_tokens=1)
    assert (done.text, done.cost.n_healed, done.cost.n_decoded) == ("()", 2, 1)
    assert context.n_decodes == 1
    assert done.cost.n_drafted == done.cost.n_verified == 0


def test_another_token_replaces_the_draft() -> None:
    context = ToyContext(target=b" return")
    engine = engine_of(context)
    done = run(engine, "x retur")
    assert done.text == "n"
    assert context.held == engine.cache.cells
    assert [PIECES[t] for t in context.held if t < len(PIECES)][-1] == b" return"
    assert context.n_decodes == 2


def test_a_healing_token_that_adds_text_is_not_a_decoded_token() -> None:
    done = run(engine_of(ToyContext(target=b" return")), "x retur")
    assert (done.text, done.cost.n_healed, done.cost.n_decoded) == ("n", 1, 0)


@pytest.mark.parametrize("sampling", [GREEDY, SamplingConfig()])
def test_the_model_may_not_end_where_a_block_has_no_body(sampling: SamplingConfig) -> None:
    def done(wants_bodies: bool) -> Done:
        engine = engine_of(ToyContext(target=b"ab:"))
        return run(engine, "x\n", sampling=sampling, max_lines=3, wants_bodies=wants_bodies)

    plain, whole = done(False), done(True)
    assert (plain.text.strip(), plain.reason) == ("ab:", "eog")
    assert whole.text.startswith(plain.text)
    assert len(whole.text) > len(plain.text)


def test_a_split_character_is_complete_in_the_text() -> None:
    done = run(engine_of(ToyContext(target="naïv🙂".encode())), "'naï", max_tokens=12)
    assert done.text == "v🙂"


class Ranked(ToyContext):
    """An alternative diverges at the first token that adds text: `abc`, the end, a newline, ` a`,
    `(`, `)`."""

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
    """Alternatives exclude end tokens, rare tokens, and text that the stop rule ends at once."""
    engine = engine_of(Ranked())
    done = [run(engine, "x", sampling=sampling, heal=False, alternative=k) for k in range(5)]
    starts = ["abc", " a", "(", "", ""]
    assert [result.text.startswith(start) for result, start in zip(done, starts, strict=True)]
    assert [result.text[:1] for result in done] == ["a", " ", "(", "", ""]
    assert [result.reason == "alternative" for result in done] == [False, False, False, True, True]
    assert max(result.cost.n_prefill for result in done[1:]) == 1


def test_only_the_first_token_is_another() -> None:
    options: dict[str, Any] = {"order": "spm2", "heal": False}
    other = run(engine_of(Ranked()), "x", alternative=1, max_tokens=6, **options)
    continued = run(engine_of(Ranked()), "x a", max_tokens=5, **options)
    assert continued.text
    assert other.text == f" a{continued.text}"


def test_an_end_token_spelled_as_text_is_not_an_alternative() -> None:
    engine = engine_of(Ranked())
    vocabulary = cast(Any, engine.vocabulary)
    vocabulary.piece = lambda token: PIECES[token] if token < len(PIECES) else b"<end>"
    assert run(engine, "x", heal=False, alternative=1).text[:2] == " a"


def test_alternatives_differ_in_a_healing_token_that_adds_text() -> None:
    """Only ` return` covers the pending bytes and adds text; no other token does."""
    engine = engine_of(ToyContext(target=b" return"))
    assert run(engine, "x retur").text == "n"
    none = run(engine, "x retur", alternative=1)
    assert (none.text, none.reason) == ("", "alternative")


def test_pending_bytes_are_covered_before_an_alternative_diverges() -> None:
    engine = engine_of(ToyContext(target=b" retur()"))
    done = [run(engine, "x retur", max_tokens=1, alternative=k) for k in range(3)]
    assert done[0].text == "()"
    assert len({result.text for result in done if result.text}) == len(
        [1 for result in done if result.text]
    )
    assert {result.cost.n_healed for result in done} == {2}


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
    """Compares runs without a draft (a batch holds one token), with a draft, and after another
    request."""
    order, typed = form
    alone = engine_of(ToyContext(n_batch=1))
    jitter = 0.4 if sampling.profile == "greedy" else 0.0
    warm_context = ToyContext(n_batch=7, can_cut=can_cut, jitter=jitter)
    warm = engine_of(warm_context)
    options: dict[str, Any] = {"order": order, "typed": typed, "sampling": sampling, "n_typed": 0}
    run(warm, before + prefix, **options)
    done = [
        run(engine, prefix, **options)
        for engine in (alone, engine_of(ToyContext(jitter=jitter)), warm)
    ]
    assert len({result.text for result in done}) == 1
    assert len({result.cost.n_healed for result in done}) == 1
    assert warm.cache.cells == warm_context.held


@settings(deadline=None, max_examples=60)
@given(texts, st.sampled_from(FORMS), samplings)
def test_the_generated_bytes_begin_with_the_pending(
    prefix: str, form: tuple[Order, Typed], sampling: SamplingConfig
) -> None:
    order, typed = form
    context = ToyContext()
    engine = engine_of(context)
    pieces = build_prompt(
        engine.match.family, order, Excerpt(prefix, "S", "", "", ""), "a", typed, True
    )
    prompt = tokenize_prompt(engine, pieces, 6)
    done = run(engine, prefix, order=order, typed=typed, sampling=sampling)
    after = context.held[len(prompt.tokens) :]
    piece_bytes = b"".join(PIECES[token] for token in after if token < len(PIECES))
    assert piece_bytes.startswith(prompt.pending_bytes) or prompt.pending_bytes.startswith(
        piece_bytes
    )
    assert not any(token >= len(PIECES) for token in after[: done.cost.n_healed])


def test_draws_after_healing_are_those_without() -> None:
    """The sampling index counts output tokens, not healing tokens. Where healing samples the
    original token again, the cells equal those of the prompt without healing."""
    n_own = 0
    for letter in string.ascii_letters:
        sampling = SamplingConfig(temperature=2, min_p=0.0, seed=5)
        healed, plain = engine_of(ToyContext()), engine_of(ToyContext())
        text = run(healed, f"{letter}\n", order="spm2", sampling=sampling).text
        expected = run(plain, f"{letter}\n", order="spm2", sampling=sampling, heal=False).text
        if healed.cache.cells[5] == plain.cache.cells[5]:
            n_own += 1
            assert text == expected
    assert 3 <= n_own < len(string.ascii_letters)


def test_a_memory_that_cannot_be_cut_is_made_anew_and_counted() -> None:
    context = ToyContext(target=b" return", can_cut=False)
    engine = engine_of(context)
    done = run(engine, "x retur")
    assert done.text == "n"
    assert context.held == engine.cache.cells
    n_prompt, n_draft = len("|x|S|"), 2
    assert done.cost.n_prefill == n_prompt + n_draft + n_prompt
    assert done.cost.n_prompt == done.cost.n_cached + done.cost.n_prefill


def test_a_memory_that_cannot_be_cut_gets_no_draft() -> None:
    context = ToyContext(target=b" return", can_cut=False)
    engine = engine_of(context)
    engine.cache.can_cut = False
    done = run(engine, "x retur")
    assert (done.text, done.cost.n_healed) == ("n", 1)
    assert done.cost.n_prefill == len("|x|S|")


def test_a_prefill_generates_nothing_and_lays_out_as_the_request_will() -> None:
    context = ToyContext(target=b" return a")
    engine = engine_of(context)
    done = run(engine, "x retur", is_prefill=True)
    assert (done.text, done.reason, done.cost.n_decoded) == ("", "tokens", 0)
    assert context.held == engine.cache.cells
    n_draft = 2
    then = run(engine, "x retur")
    assert (then.text, then.cost.n_prefill) == ("n a", n_draft + 1)
    assert run(engine, "x retur", max_tokens=0).reason == "tokens"


def test_a_cancelled_prefill_reports_cancelled() -> None:
    done = run(engine_of(ToyContext(n_batch=4)), "x retur", is_prefill=True, n_looks=1)
    assert (done.reason, done.cost.n_prefill) == ("cancelled", 4)


def test_confidence_is_of_the_first_line() -> None:
    context = ToyContext(target=b"(ab\nab")
    done = run(engine_of(context), "(", max_lines=3, max_tokens=9)
    assert done.text == "ab\nab"
    assert -0.01 < done.cost.logprob_first <= 0
    assert -0.01 < done.cost.logprob_line <= 0
    unsure = run(engine_of(ToyContext()), "(").cost
    assert unsure.logprob_line < -0.5


class FlatAfterNewline(ToyContext):
    def logits(self, n_before: int = 0) -> npt.NDArray[np.float32]:
        logits = super().logits(n_before)
        piece_bytes = b"".join(PIECES[t] for t in self.held if t < len(PIECES))
        return logits / 100 if b"\n" in piece_bytes else logits


def test_the_second_line_is_not_in_the_mean() -> None:
    done = run(engine_of(FlatAfterNewline(target=b"(ab\nab")), "(", max_lines=3, max_tokens=9)
    assert "\n" in done.text
    assert -0.01 < done.cost.logprob_line <= 0


def test_healing_never_crosses_the_anchor() -> None:
    """The share of typed text in a small context is ten tokens; five are moved at once."""
    context = ToyContext()
    context.n_ctx = 40
    engine = engine_of(context)
    place = Excerpt("x\n" + "c" * 11, "S", "", "", "", 11)
    prompt = tokenize_prompt(
        engine, build_prompt(engine.match.family, "psm", place, "a", "after_mid", True), 6
    )
    assert prompt.pending_bytes == b"c" * 7
    assert b"".join(PIECES[t] for t in prompt.tokens if t < len(PIECES)) == b"x\nccccS"


def test_an_empty_completion_has_no_logprob() -> None:
    cost = run(engine_of(ToyContext(target=b"()")), "()").cost
    assert (cost.n_decoded, cost.logprob_first, cost.logprob_line) == (0, 0.0, 0.0)
