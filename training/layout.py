"""Turns a sample into tokens, in llama-server's two infill layouts, and selects the tokens of the
loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmd.models.pull.build_builtin import FIM_TOKEN_IDS
from training.holes import Sample

END = 0  # <|endoftext|>
MAX_TOKENS = 420  # longer samples are not used

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Tokens:
    ids: tuple[int, ...]
    n_targets: int  # how many tokens at the end are predicted: the middle and END

    def __len__(self) -> int:
        return len(self.ids)


def sample_tokens(sample: Sample, tokenize: Tokenize) -> Tokens:
    """Tokenises prefix, suffix and middle separately, as llama-server and llmd do."""
    ids = FIM_TOKEN_IDS
    header: list[int] = []
    if sample.header:
        repo, file = sample.header
        header = [ids["rep"], *tokenize(repo), ids["sep"], *tokenize(file)]
    before = [ids["pre"], *tokenize(sample.prefix)]
    after = [ids["suf"], *tokenize(sample.suffix)]
    body = before + after if sample.order == "psm" else after + before
    targets = [*tokenize(sample.middle), END]
    return Tokens((*header, *body, ids["mid"], *targets), len(targets))
