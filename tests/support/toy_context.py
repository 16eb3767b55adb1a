"""Simulates llama.cpp for a request from pieces to text: the model's logits depend on the tokens
before, and each cell and each row of logits is checked to have been computed on request."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llmd.errors import DeviceError, EngineError
from llmd.prompt.families import Match, family_by_name
from llmd.worker.kv_cache import KvCache
from llmd.worker.prompt_tokens import LoadedModel
from llmd.worker.token_healing import HealingTable

WORDS = (b" ret", b"ur", b" return", b"return", b"\n    ", b"\n   ", b"ab", b"abc", b" a", b"()")
PIECES = [bytes([byte]) for byte in range(256)] + list(WORDS)
PRE, SUF, MID, EOG = range(len(PIECES), len(PIECES) + 4)
N_VOCAB = EOG + 1


def tokenize(text: str) -> tuple[int, ...]:
    """Tokenizes greedily by the longest token."""
    data, tokens = text.encode(), []
    while data:
        best = max((piece for piece in PIECES if data.startswith(piece)), key=len)
        tokens.append(PIECES.index(best))
        data = data[len(best) :]
    return tuple(tokens)


class ToyContext:
    """`target`: the text that the model prefers after the prompt's text; noise without it.

    `jitter`: by how much a token of a draft may see other logits than it would alone. `codes`: what
    decodes return in place of 0, by their number from 1. `is_on_gpu`: an error is the GPU's end.
    """

    n_ctx = 512
    is_on_gpu = False

    def __init__(
        self, n_batch: int = 64, can_cut: bool = True, target: bytes = b"", jitter: float = 0.0
    ) -> None:
        self.n_batch, self.can_cut, self.target, self.jitter = n_batch, can_cut, target, jitter
        self.held: list[int] = []
        self.n_decodes = 0
        self.codes: dict[int, int] = {}
        self._n_logits = 0

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int:
        assert start == len(self.held)
        assert n_logits <= len(tokens) <= self.n_batch
        self.held += tokens
        self.n_decodes += 1
        self._n_logits = n_logits
        return self.codes.get(self.n_decodes, 0)

    def failure(self, what: str) -> EngineError:
        return (DeviceError if self.is_on_gpu else EngineError)(f"llama.cpp failed to {what}")

    def set_abort_flag(self, flag_address: int) -> None:
        pass

    def logits(self, n_before: int = 0) -> npt.NDArray[np.float32]:
        assert n_before < self._n_logits, "no logits were requested there"
        before = self.held[: len(self.held) - n_before]
        # Whole numbers: a near tie is always an exact tie.
        rng = random.Random(repr(before))
        logits = np.array([rng.randrange(40) for _ in range(N_VOCAB)], dtype=np.float32)
        if n_before < self._n_logits - 1:
            logits += np.array([rng.uniform(0, self.jitter) for _ in range(N_VOCAB)])
        self._prefer_target(logits, b"".join(PIECES[t] for t in before if t < len(PIECES)))
        return logits

    def _prefer_target(self, logits: npt.NDArray[np.float32], piece_bytes: bytes) -> None:
        for n_chars in range(len(self.target), -1, -1):
            if self.target and piece_bytes.endswith(self.target[:n_chars]):
                rest = self.target[n_chars:]
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
    return LoadedModel(
        cast(Any, context), cast(Any, vocabulary), match, KvCache(cast(Any, context)), table
    )
