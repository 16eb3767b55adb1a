"""Converts text to tokens and tokens to bytes."""

from __future__ import annotations

import ctypes
import re
from collections import OrderedDict
from typing import Any

from llama_cpp import llama_cpp as c

from llmd.errors import EngineError
from llmd.prompt.families import Role
from llmd.worker.llama import library  # noqa: F401 - sets llama.cpp up

_N_CACHED_SEGMENTS = 64  # chosen: prefix, suffix and frame of a few documents
# A sentencepiece vocabulary inserts a space before a text. A guard before the segment takes that
# space. Control characters are byte tokens, which merge with no other text.
_GUARDS = (b"\x01", b"\x02", b"\n", b"|")
_PIECE_BYTES = 256  # buffer size; longer pieces are read a second time
_NO_TEXT = c.LLAMA_TOKEN_ATTR_CONTROL | c.LLAMA_TOKEN_ATTR_UNKNOWN | c.LLAMA_TOKEN_ATTR_UNUSED


class Vocabulary:
    """Tokenizes text with a model's vocabulary.

    Invariant: plain text never becomes a special token.
    """

    def __init__(self, model: Any) -> None:
        """Reads the vocabulary of a model.

        `model`: a llama_model, which must outlive the vocabulary.
        """
        self._handle: Any = c.llama_model_get_vocab(model)
        self.n_tokens: int = c.llama_vocab_n_tokens(self._handle)
        self.bos: int = c.llama_vocab_bos(self._handle)
        self.eos: int = c.llama_vocab_eos(self._handle)
        self.add_bos: bool = c.llama_vocab_get_add_bos(self._handle) and self.bos >= 0
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self._attrs = [c.llama_vocab_get_attr(self._handle, i) for i in range(self.n_tokens)]
        self._user_defined = self._user_defined_spellings()
        # Empty: the vocabulary inserts no space before a text.
        round_trip = b"".join(map(self.piece, self._tokenize_raw(b"a")))
        self._guard = b"" if round_trip == b"a" else _GUARDS[0]
        self._segments: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    @property
    def declared(self) -> dict[Role, int]:
        """Returns the FIM tokens that the file declares or that llama.cpp finds by spelling."""
        tokens: dict[Role, int] = {
            "pre": c.llama_vocab_fim_pre(self._handle),
            "suf": c.llama_vocab_fim_suf(self._handle),
            "mid": c.llama_vocab_fim_mid(self._handle),
        }
        return {role: token for role, token in tokens.items() if token >= 0}

    def find(self, spelling: str) -> int | None:
        """Returns the token, also a special one, whose spelling is exactly `spelling`."""
        tokens = self._tokenize_raw(spelling.encode(), parse_special=True)
        if len(tokens) != 1 or self._token_text(tokens[0]) != spelling:
            return None
        return tokens[0]

    def is_eog(self, token: int) -> bool:
        return bool(c.llama_vocab_is_eog(self._handle, token))

    def piece(self, token: int) -> bytes:
        """Returns the token's bytes; empty for a control token."""
        buffer, size = self._buffer, _PIECE_BYTES
        n_bytes = c.llama_token_to_piece(self._handle, token, buffer, size, 0, False)
        if n_bytes < 0:
            buffer = ctypes.create_string_buffer(-n_bytes)
            n_bytes = c.llama_token_to_piece(self._handle, token, buffer, -n_bytes, 0, False)
        return ctypes.string_at(buffer, n_bytes)

    def text_pieces(self) -> list[tuple[bytes, int]]:
        """Returns bytes and id of every plain text token (50,000 tokens take 50 ms).

        Some vocabularies declare runs of whitespace as user-defined tokens; these count as text.
        """
        pieces = [(self.piece(i), i) for i, attr in enumerate(self._attrs) if not attr & _NO_TEXT]
        return [(piece, i) for piece, i in pieces if self._is_text(piece, self._attrs[i])]

    @staticmethod
    def _is_text(piece: bytes, attr: int) -> bool:
        if attr & c.LLAMA_TOKEN_ATTR_USER_DEFINED:
            return bool(piece) and not piece.strip()
        return bool(piece) and (len(piece) == 1 or not attr & c.LLAMA_TOKEN_ATTR_BYTE)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Returns the tokens of a whole segment. Recent segments are cached."""
        if (tokens := self._segments.get(text)) is None:
            tokens = tuple(
                token
                for part in self._split_user_defined(text)
                for token in self._tokenize_guarded(part)
            )
            self._segments[text] = tokens
            if len(self._segments) > _N_CACHED_SEGMENTS:
                self._segments.popitem(last=False)
        self._segments.move_to_end(text)
        return tokens

    def _split_user_defined(self, text: str) -> list[str]:
        """Splits a text inside every user-defined spelling, which llama.cpp matches in any text.

        "a<pad>b" becomes "a<" and "pad>b".
        """
        if self._user_defined is None:
            return [text] if text else []
        parts, start = [], 0
        while match := self._user_defined.search(text, start):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        return [part for part in (*parts, text[start:]) if part]

    def _tokenize_guarded(self, text: str) -> list[int]:
        encoded = text.encode(errors="replace")
        if not self._guard:
            return self._tokenize_raw(encoded)
        for guard in (self._guard, *_GUARDS):
            before, tokens = self._tokenize_raw(guard), self._tokenize_raw(guard + encoded)
            if tokens[: len(before)] == before:
                return tokens[len(before) :]
        return self._tokenize_raw(encoded)

    def _tokenize_raw(self, text: bytes, parse_special: bool = False) -> list[int]:
        capacity = len(text) + 8
        tokens = (c.llama_token * capacity)()
        n_tokens = c.llama_tokenize(
            self._handle, text, len(text), tokens, capacity, False, parse_special
        )
        if n_tokens < 0:
            raise EngineError(f"llama.cpp failed to tokenize a segment of {len(text)} bytes")
        return tokens[:n_tokens]

    def _token_text(self, token: int) -> str:
        return (c.llama_vocab_get_text(self._handle, token) or b"").decode(errors="replace")

    def _user_defined_spellings(self) -> re.Pattern[str] | None:
        """Returns a pattern of the spellings to split; None: there are none.

        Single characters cannot be split, and whitespace means the same as plain text.
        """
        spellings = {
            self._token_text(token)
            for token, attr in enumerate(self._attrs)
            if attr & c.LLAMA_TOKEN_ATTR_USER_DEFINED
        }
        spellings = {text for text in spellings if len(text) > 1 and text.strip()}
        if not spellings:
            return None
        return re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))))
