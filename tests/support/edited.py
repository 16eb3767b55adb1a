"""Compares warm with cold completions at positions reached by real edits, through window, anchor
and prompt.

`python -m tests.support.edited TRACE.json.gz [N]` counts N positions of an editing trace in the
orders psm and spm.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmd.cli.eval.trace_pauses import read_trace
from llmd.config import Config
from llmd.context.request import build_request
from llmd.context.window import Excerpt
from llmd.document import Document, Position, open_document
from llmd.engine.messages import Done, Generate
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import build_prompt
from llmd.prompt.families import Order, typed_placement
from llmd.worker.generate import generate
from tests.support.real_engine import GREEDY, NEAR_TIE, RealEngine, load_real_engine

N_BEFORE = 5  # edits before a place that are asked about too
Patch = tuple[int, int, str]


@dataclass(frozen=True)
class Comparison:
    n_places: int
    n_same: int  # also those that part at a near tie
    n_text_same: int
    n_warm: int  # places where cells were used again


def read_patches(path: Path) -> list[Patch]:
    return [patch for edit in read_trace(path).txns for patch in edit.patches]


def with_order(engine: RealEngine, order: Order) -> RealEngine:
    match = replace(engine.match, order=order)
    return replace(engine, match=match, engine=replace(engine.engine, match=match))


def compare(engine: RealEngine, patches: Sequence[Patch], n_places: int) -> Comparison:
    step = max(len(patches) // n_places, N_BEFORE + 1)
    n_same = n_text_same = n_warm = n_done = 0
    for excerpt, is_place in excerpts(patches, step):
        warm = complete(engine, excerpt, max_tokens=14 if is_place else 2)
        if not is_place or n_done == n_places:
            continue
        cells = list(engine.engine.cache.cells)
        saved = engine.engine.cache.save()
        engine.engine.cache.clear()
        cold = complete(engine, excerpt)
        n_text_same += cold.text == warm.text
        n_same += cold.text == warm.text or diverges_at_near_tie(engine, excerpt, cold, warm)
        n_warm += warm.cost.n_cached > 16
        n_done += 1
        engine.engine.cache.restore(saved)
        assert engine.engine.cache.cells == cells
    return Comparison(n_done, n_same, n_text_same, n_warm)


def excerpts(patches: Sequence[Patch], step: int) -> Iterator[tuple[Excerpt, bool]]:
    """Yields the excerpt of every `step`-th edit and of the last edits before it, as an editor
    sends a request after each edit."""
    document = open_document("file:///t/App.svelte", "svelte", 1, "")
    for number, (position, n_deleted, text) in enumerate(patches, 1):
        start = position_at(document, position)
        document.edit(start, position_at(document, position + n_deleted), text)
        left = -number % step
        if left <= N_BEFORE:
            cursor = position_at(document, position + len(text))
            place = build_request(document, cursor, Config(), lambda *_: "", invoked=True)
            yield place.excerpt, left == 0


def position_at(document: Document, offset: int) -> Position:
    starts = itertools.accumulate(map(len, document.text.lines), initial=0)
    for line, (start, text) in enumerate(zip(starts, document.text.lines, strict=False)):
        if offset < start + len(text) or line == len(document.text.lines) - 1:
            return Position(line, offset - start)
    raise AssertionError


def complete(engine: RealEngine, excerpt: Excerpt, max_tokens: int = 14) -> Done:
    match = engine.match
    typed = typed_placement(match.family, match.order)
    pieces = build_prompt(match.family, match.order, excerpt, "App.svelte", typed, heal=True)
    request = Generate(1, pieces, StopRule(max_tokens, 64, 0, "", 600_000), GREEDY)
    return generate(engine.engine, request, time.monotonic(), lambda: False, lambda _: None)


def diverges_at_near_tie(engine: RealEngine, excerpt: Excerpt, one: Done, other: Done) -> bool:
    pairs = zip(one.text, other.text, strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    margins = []
    for n_chars in range(max(0, shared - 8), shared + 1):
        engine.engine.cache.clear()
        complete(engine, excerpt.after_accepting(one.text[:n_chars]), max_tokens=1)
        best = sorted(engine.context.logits().tolist())[-2:]
        margins.append(best[1] - best[0])
    return bool(min(margins) <= NEAR_TIE)


def main() -> None:
    path, n_places = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300
    loaded = load_real_engine()
    for order in ("psm", "spm"):
        comparison = compare(with_order(loaded, order), read_patches(path), n_places)
        share = comparison.n_same / comparison.n_places
        print(f"{path.name} {order}: {comparison}, {share:.1%}", flush=True)


if __name__ == "__main__":
    main()
