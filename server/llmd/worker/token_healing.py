"""Token healing: removes the last tokens before the cursor and generates their text again.

A prompt that ends inside a word gives the right token up to 1,000 times less probability, since no
model was trained on "retur" followed by "n". So the pre-token under the cursor is removed from the
prompt. Its bytes are pending: until the generated tokens cover them, only tokens that agree with
the pending bytes are allowed. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import numpy as np
import numpy.typing as npt

TokenIds = npt.NDArray[np.int32]

MAX_TOKENS = 8  # a longer word is healed in part
_SPACES = b" \t\n\r\f\v"


class HealingTable:
    """Holds the bytes of all text tokens, sorted.

    The table has no special tokens, so that a completion cannot end while bytes are pending.
    """

    def __init__(self, pieces: Iterable[tuple[bytes, int]] = ()) -> None:
        """Sorts the pieces.

        `pieces`: bytes and id of each token; tokens without bytes are ignored.
        """
        ordered = sorted((pair for pair in pieces if pair[0]), key=itemgetter(0))
        self._pieces = [piece for piece, _ in ordered]
        self._ids: TokenIds = np.array([token for _, token in ordered], dtype=np.int32)
        self._max_bytes = max(map(len, self._pieces), default=0)
        self._single = frozenset(piece[0] for piece in self._pieces if len(piece) == 1)

    def allowed(self, pending: bytes) -> TokenIds:
        """Returns the ids, int32 of shape `(n,)`, of tokens that agree with `pending`.

        First the tokens that begin with `pending`, sorted by their bytes, then the tokens that are
        a proper prefix of `pending`, shortest first. The text "\\n    return" may consist of
        "\\n   " and " return": hence the second kind.
        """
        lengths = range(1, min(len(pending), self._max_bytes + 1))
        prefixes = [self._ids_of_piece(pending[:n_bytes]) for n_bytes in lengths]
        first, end = self._prefix_range(pending)
        return np.concatenate([self._ids[first:end], *prefixes])

    def has_prefix(self, prefix: bytes) -> bool:
        """Returns whether any token begins with `prefix`."""
        first, end = self._prefix_range(prefix)
        return first < end

    def contains(self, token: int, piece: bytes) -> bool:
        return bool((self._ids_of_piece(piece) == token).any())

    def covers(self, pending: bytes) -> bool:
        """Returns whether each byte of `pending` has a token of its own, which rules out dead
        ends."""
        return self._single.issuperset(pending)

    def _ids_of_piece(self, piece: bytes) -> TokenIds:
        first = bisect_left(self._pieces, piece)
        return self._ids[first : bisect_right(self._pieces, piece, first)]

    def _prefix_range(self, prefix: bytes) -> tuple[int, int]:
        first = bisect_left(self._pieces, prefix)
        stem = prefix.rstrip(b"\xff")
        after = stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
        end = bisect_left(self._pieces, after, first) if after else len(self._pieces)
        return first, end


def n_healed_tokens(
    tokens: Sequence[int], piece: Callable[[int], bytes], table: HealingTable
) -> int:
    """Returns how many of a text's last tokens to remove and generate again.

    These are the tokens from the start of the pre-token under the cursor, as far as the table
    covers their bytes. This start, and so the tokens before it, stays the same while a word grows.
    """
    tail: list[bytes] = []
    for token in reversed(tokens[-MAX_TOKENS:]):
        part = piece(token)
        if not (table.contains(token, part) and table.covers(part)):
            break
        tail.insert(0, part)
    n_tokens = n_pieces_from(tail, pre_token_start(b"".join(tail), table))
    # A single token that no other token can replace need not be healed. Whitespace is healed even
    # so, since the next key may extend its pre-token.
    is_useless = n_tokens == 1 and tail[-1].strip() and len(table.allowed(tail[-1])) == 1
    return 0 if is_useless else n_tokens


def n_after_anchor(
    tokens: Sequence[int], n_bytes: int, piece: Callable[[int], bytes], table: HealingTable
) -> int:
    """Returns how many of a text's last tokens follow the anchor, `n_bytes` before the text's end.

    The anchor moves back to the start of a pre-token, since the anchor must not move with the next
    key: a newline merges with the indentation after it in some vocabularies, and with the bracket
    before it in others.
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
    """Returns how many of the last pieces hold the bytes from offset `at` on, including the piece
    that contains `at`."""
    end = 0
    for idx, part in enumerate(pieces):
        end += len(part)
        if end > at:
            return len(pieces) - idx
    return 0


def pre_token_start(text: bytes, table: HealingTable) -> int:
    """Returns the byte offset of the last pre-token in `text`: a run of letters and digits, of
    whitespace, or of other characters.

    llama.cpp has some fifty pre-tokenizers and exposes none of them. The vocabulary shows whether
    a model's pre-tokenizer joins a run with the character before it: the vocabulary then has tokens
    such as " return" or ".append".
    """
    at = len(text)
    while at and _char_class(text[at - 1]) == _char_class(text[-1]):
        at -= 1
    is_start = at in (0, len(text)) or _char_class(text[at - 1]) == "word"
    if is_start or _char_class(text[-1]) == "space":
        return at
    return at - (text[at - 1] not in b"\r\n" and table.has_prefix(text[at - 1 : at + 1]))


def _char_class(byte: int) -> str:
    if byte in _SPACES:
        return "space"
    return "word" if byte >= 0x80 or chr(byte).isalnum() else "sign"
