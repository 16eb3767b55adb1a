"""A sample as tokens: llama-server's two infill layouts, and which tokens the loss looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmd.models.pull.builtin import FIM_TOKEN_IDS
from training.holes import Sample

END = 0  # <|endoftext|>
MAX_TOKENS = 420  # a sample that is longer is not used

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Tokens:
    ids: tuple[int, ...]
    n_wanted: int  # the last so many are predicted: the middle and its end

    def __len__(self) -> int:
        return len(self.ids)


def lay_out(sample: Sample, tokenize: Tokenize) -> Tokens:
    """Prefix, suffix and middle are tokenised apart, as llama-server and llmd do."""
    ids = FIM_TOKEN_IDS
    header: list[int] = []
    if sample.header:
        repo, file = sample.header
        header = [ids["rep"], *tokenize(repo), ids["sep"], *tokenize(file)]
    before = [ids["pre"], *tokenize(sample.prefix)]
    after = [ids["suf"], *tokenize(sample.suffix)]
    body = before + after if sample.order == "psm" else after + before
    wanted = [*tokenize(sample.middle), END]
    return Tokens((*header, *body, ids["mid"], *wanted), len(wanted))
