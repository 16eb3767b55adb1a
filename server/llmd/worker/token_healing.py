"""Token healing: where the text before the cursor is taken back to, and which tokens pay for it.

A prompt that ends inside a word puts up to 1,000 times less probability on the right token, since
no model was trained on "retur" and then "n". So the pre-token under the cursor is taken back, and
its bytes are owed: until they are paid only tokens are allowed that agree with them. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]

MAX_TOKENS = 8  # a longer word is taken back in part
_SPACES = b" \t\n\r\f\v"


class HealingTable:
    """The byte strings of the tokens that can stand for text, sorted.

    It holds no token that is more than text, so that nothing ends while bytes are owed.
    """

    def __init__(self, pieces: Iterable[tuple[bytes, int]] = ()) -> None:
        """`pieces`: bytes and id of each token; empty ones are left out."""
        ordered = sorted((pair for pair in pieces if pair[0]), key=itemgetter(0))
        self._pieces = [piece for piece, _ in ordered]
        self._ids: TokenIds = np.array([token for _, token in ordered], dtype=np.int32)
        self._max_bytes = max(map(len, self._pieces), default=0)
        self._single = frozenset(piece[0] for piece in self._pieces if len(piece) == 1)

    def allowed(self, owed: bytes) -> TokenIds:
        """The tokens that begin with `owed`, and those that are a proper prefix of it.

        The text's own tokens after "\\n    " may be "\\n   " and " return": hence the second kind.
        """
        lengths = range(1, min(len(owed), self._max_bytes + 1))
        parts = [self._ids_of_piece(owed[:n_bytes]) for n_bytes in lengths]
        first, end = self._prefix_range(owed)
        return np.concatenate([self._ids[first:end], *parts])

    def has_prefix(self, start: bytes) -> bool:
        """Whether any token begins so."""
        first, end = self._prefix_range(start)
        return first < end

    def contains(self, token: int, piece: bytes) -> bool:
        return bool((self._ids_of_piece(piece) == token).any())

    def covers(self, owed: bytes) -> bool:
        """Whether a token for each byte is there, so that no choice leads to a dead end."""
        return self._single.issuperset(owed)

    def _ids_of_piece(self, piece: bytes) -> TokenIds:
        first = bisect_left(self._pieces, piece)
        return self._ids[first : bisect_right(self._pieces, piece, first)]

    def _prefix_range(self, start: bytes) -> tuple[int, int]:
        first = bisect_left(self._pieces, start)
        stem = start.rstrip(b"\xff")
        after = stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
        end = bisect_left(self._pieces, after, first) if after else len(self._pieces)
        return first, end


def n_healed_tokens(
    tokens: Sequence[int], piece: Callable[[int], bytes], table: HealingTable
) -> int:
    """How many of a text's last tokens are generated again.

    They are those from the start of the pre-token under the cursor on, as far as the table can
    pay for them. While a word grows this start, and so the tokens before it, stay where they are.
    """
    tail: list[bytes] = []
    for token in reversed(tokens[-MAX_TOKENS:]):
        part = piece(token)
        if not (table.contains(token, part) and table.covers(part)):
            break
        tail.insert(0, part)
    n_tokens = n_pieces_from(tail, pre_token_start(b"".join(tail), table))
    # Whitespace is taken back even so: what is typed next makes one pre-token with it.
    is_useless = n_tokens == 1 and tail[-1].strip() and len(table.allowed(tail[-1])) == 1
    return 0 if is_useless else n_tokens


def n_after_anchor(
    tokens: Sequence[int], n_bytes: int, piece: Callable[[int], bytes], table: HealingTable
) -> int:
    """How many of a text's last tokens stand after the anchor, which is `n_bytes` before its end.

    The anchor goes back to the start of a pre-token: a newline merges with the indentation after
    it in some vocabularies and with the bracket before it in others, and it has to stand still
    whatever is typed next.
    """
    tail: list[bytes] = []
    before, n_beyond, at = b"", 0, 0
    for token in reversed(tokens):
        tail.insert(0, piece(token))
        n_bytes -= len(tail[0])
        if n_bytes < 0:
            before = (tail[0] if n_beyond else tail[0][:-n_bytes]) + before
            at = pre_token_start(before, table)
            n_beyond += 1
            if at > 0 or n_beyond == MAX_TOKENS:
                break
    return n_pieces_from(tail, at)


def n_pieces_from(pieces: Sequence[bytes], at: int) -> int:
    """How many of the last pieces hold the bytes from `at` on; the one around `at` is among
    them."""
    end = 0
    for idx, part in enumerate(pieces):
        end += len(part)
        if end > at:
            return len(pieces) - idx
    return 0


def pre_token_start(text: bytes, table: HealingTable) -> int:
    """Where the last pre-token of `text` begins: a run of letters and digits, of whitespace, or of
    other signs.

    llama.cpp knows some fifty pre-tokenisers and shows none. Whether theirs joins a run with the
    sign before it (" return", ".append") is seen from the vocabulary: it has tokens that do.
    """
    at = len(text)
    while at and _char_class(text[at - 1]) == _char_class(text[-1]):
        at -= 1
    if (
        at in (0, len(text))
        or _char_class(text[-1]) == "space"
        or _char_class(text[at - 1]) == "word"
    ):
        return at
    return at - (text[at - 1] not in b"\r\n" and table.has_prefix(text[at - 1 : at + 1]))


def _char_class(byte: int) -> str:
    if byte in _SPACES:
        return "space"
    return "word" if byte >= 0x80 or chr(byte).isalnum() else "sign"
