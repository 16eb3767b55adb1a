"""Tests token healing: which tokens are removed and which tokens may replace them. Toy
vocabularies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd.worker.token_healing import (
    MAX_TOKENS,
    HealingTable,
    n_after_anchor,
    n_healed_tokens,
    pre_token_start,
)

BYTES = [bytes([byte]) for byte in range(256)]
# Tokens of a byte-level vocabulary: words with their space, indentation with its newline.
GPT = [b" ret", b"ur", b" return", b"return", b"\n   ", b"\n    ", b" (", b"()", b"comp", b" x"]
# Tokens of newer vocabularies: a sign joined to its word, a bracket to the newline after it.
QWEN = [b".app", b".append", b"append", b"app", b"\treturn", b"):\n", b" return", b"(self"]


def table(extra: Sequence[bytes] = GPT, plain: Sequence[bytes] = BYTES) -> HealingTable:
    return HealingTable((piece, idx) for idx, piece in enumerate([*plain, *extra]))


def pieces_by_id(ids: Sequence[int], extra: Sequence[bytes] = GPT) -> set[bytes]:
    return {[*BYTES, *extra][idx] for idx in ids}


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        (b" retur", {b" return", b" ret", b" "}),
        (b" ret", {b" ret", b" return", b" "}),
        (b"\n    ", {b"\n", b"\n   ", b"\n    "}),
        (b"x", {b"x"}),
        (b"\xff", {b"\xff"}),
    ],
    ids=["inside", "whole", "indentation", "alone", "last-byte"],
)
def test_allowed_tokens(pending: bytes, expected: set[bytes]) -> None:
    assert pieces_by_id(table().allowed(pending).tolist()) == expected


def test_all_tokens_of_equal_bytes_are_allowed() -> None:
    twice = HealingTable([(b"a", 3), (b"a", 9), (b"ab", 5), (b"b", 1)])
    assert sorted(twice.allowed(b"a")) == [3, 5, 9]
    assert sorted(twice.allowed(b"ab")) == [3, 5, 9]


alphabet = st.binary(max_size=4) | st.sampled_from([b"\xff", b"\xff\xff", b"a\xff", b"a\xffb"])


@given(st.lists(alphabet, max_size=30), st.binary(min_size=1, max_size=5) | alphabet.filter(bool))
def test_allowed_tokens_agree_with_the_pending_bytes(
    vocabulary: list[bytes], pending: bytes
) -> None:
    got = HealingTable((piece, idx) for idx, piece in enumerate(vocabulary)).allowed(pending)
    agree = [
        idx
        for idx, piece in enumerate(vocabulary)
        if piece and (piece.startswith(pending) or pending.startswith(piece))
    ]
    assert sorted(got) == agree


@given(st.binary(min_size=1, max_size=12), st.data())
def test_for_any_choice_the_generated_bytes_begin_with_the_pending(
    pending: bytes, data: st.DataObject
) -> None:
    """Also checks that a token is always allowed, whatever the choices before."""
    vocabulary, covered = table([*GPT, *QWEN]), b""
    for _ in range(len(pending) + 1):
        if len(covered) >= len(pending):
            break
        ids = vocabulary.allowed(pending[len(covered) :]).tolist()
        covered += [*BYTES, *GPT, *QWEN][data.draw(st.sampled_from(ids))]
    assert covered.startswith(pending)


@pytest.mark.parametrize(
    ("text", "extra", "taken"),
    [
        (b"    retur", GPT, b" retur"),
        (b"\n    r", GPT, b" r"),
        (b"a)retur", GPT, b"retur"),
        (b"f(retur", GPT, b"retur"),
        (b"f(sel", QWEN, b"(sel"),
        (b"x.ap", QWEN, b".ap"),
        (b"x.ap", GPT, b"ap"),
        (b"\tretu", QWEN, b"\tretu"),
        (b"\nreturn", QWEN, b"return"),
        (b"my_va", GPT, b"va"),
        (b"x = (", GPT, b" ("),
        (b"x  \n\n    ", GPT, b"  \n\n    "),
        (b"f()\r\n\t", GPT, b"\r\n\t"),
        ("s = 'naïv".encode(), GPT, "naïv".encode()),
        ("s = '🙂".encode(), GPT, "🙂".encode()),
        ("x = é".encode(), GPT, "é".encode()),
        (b"", GPT, b""),
    ],
)
def test_the_pre_token_under_the_cursor(text: bytes, extra: Sequence[bytes], taken: bytes) -> None:
    assert text[pre_token_start(text, table(extra)) :] == taken


def n_healed(pieces: Sequence[bytes], vocabulary: HealingTable) -> int:
    ids = {piece: idx for idx, piece in enumerate([*BYTES, *GPT])}
    tokens = [ids.get(piece, -1) for piece in pieces]
    named = dict(zip(tokens, pieces, strict=True))
    return n_healed_tokens(tokens, named.__getitem__, vocabulary)


@pytest.mark.parametrize(
    ("pieces", "n_taken"),
    [
        ([b"x", b" ret", b"ur"], 2),
        ([b"x", b"\n    "], 1),
        ([b"f", b"()", b"\n   ", b" x"], 1),
        ([b"(", b"\xc3", b"\xa9"], 2),
        ([b"a", b"\x01"], 0),
        ([b"a"] * 20, MAX_TOKENS),
        ([b"<|odd|>", b"c"], 1),
        ([], 0),
    ],
    ids=["word", "indent", "after-indent", "split-character", "useless", "long", "special", "none"],
)
def test_how_many_tokens_are_healed(pieces: list[bytes], n_taken: int) -> None:
    assert n_healed(pieces, table()) == n_taken


def test_a_token_across_the_start_is_healed_whole() -> None:
    """Checks with a vocabulary in which the characters before a newline share its token."""
    named = dict(enumerate([b"f(a", b"):\n", b"    "]))
    held = HealingTable([*((piece, idx + 9) for idx, piece in enumerate(BYTES)), (b"):\n", 1)])
    whole = HealingTable(
        [*((piece, idx + 9) for idx, piece in enumerate(BYTES)), (b"):\n", 1), (b"    ", 2)]
    )
    assert n_healed_tokens([0, 1, 2], named.__getitem__, held) == 0
    assert n_healed_tokens([0, 1, 2], named.__getitem__, whole) == 2


def test_a_byte_without_a_token_is_never_pending() -> None:
    without = table(plain=[byte for byte in BYTES if byte != b"u"])
    ids = [b for b in BYTES if b != b"u"] + GPT
    tokens = [ids.index(b" ret"), ids.index(b"ur")]
    assert n_healed_tokens(tokens, ids.__getitem__, without) == 0


def test_an_empty_table_heals_nothing() -> None:
    assert n_healed_tokens([1, 2], BYTES.__getitem__, HealingTable()) == 0


@pytest.mark.parametrize(
    ("pieces", "n_bytes", "n_tokens"),
    [
        ([b"f", b"()", b"\n   ", b" x"], 5, 2),
        ([b"f", b"()", b"\n"], 0, 1),
        ([b"f", b"):\n", b"    ", b"x"], 5, 3),
        ([b"f", b"\n", b"\n    ", b"x"], 5, 3),
        ([b" ret", b"ur"], 1, 2),
        ([b"a"] * 20, 3, 3 + MAX_TOKENS),
        ([b"x", b" x"], 3, 2),
        ([b"\n", b"\n"], 0, 2),
        ([], 0, 0),
    ],
    ids=[
        "merged",
        "empty",
        "bracket",
        "blank-line",
        "word",
        "long-word",
        "all",
        "only-blank",
        "none",
    ],
)
def test_the_anchor_is_a_border_of_pre_tokens(
    pieces: list[bytes], n_bytes: int, n_tokens: int
) -> None:
    assert n_after_anchor(range(len(pieces)), n_bytes, pieces.__getitem__, table()) == n_tokens


def test_the_work_of_a_request_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allows at most one lookup per byte of the longest token, however many bytes are pending."""
    vocabulary, looks = table(), itertools.count()
    same = HealingTable._ids_of_piece
    monkeypatch.setattr(
        HealingTable, "_ids_of_piece", lambda self, piece: (next(looks), same(self, piece))[1]
    )
    vocabulary.allowed(b" " * 4000)
    assert next(looks) <= max(map(len, GPT))
