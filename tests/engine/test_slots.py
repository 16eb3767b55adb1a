"""Tests switching between documents, background work and cancelling after a batch: their cost in
tokens, with the real model."""

from __future__ import annotations

import asyncio
import gc
import string
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from tests.support.builtin import builtin_path
from tests.support.fault_engine import LONG_MS, ready
from tests.support.real_engine import GREEDY, RealEngine, load_real_engine, positions

from llmd.config import Config
from llmd.context.window import Excerpt
from llmd.engine.client import EngineClient
from llmd.engine.messages import Done, Loaded
from llmd.engine.requests import EngineRequest
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece, build_prompt
from llmd.prompt.families import family_by_name

# A prefill takes many times longer on a busy machine.
pytestmark = pytest.mark.timeout(900)

N_DOCUMENTS = 5
N_ROUNDS = 3
N_BATCH = 64
KEYS = string.ascii_lowercase[:20]


@pytest.fixture(scope="module")
def loaded() -> RealEngine:
    return load_real_engine()


def at_statements(n_places: int, n_chars: int) -> Iterator[tuple[str, str]]:
    """Yields positions in real files after a short typed word, so healing removes few tokens."""
    for prefix, suffix in positions(n_places, n_chars):
        yield prefix[: prefix.rindex("\n") + 1] + "        if ", "\n" + suffix


def test_going_round_five_documents_prefills_nothing(loaded: RealEngine) -> None:
    """Types a key at each visit; the text must equal that of a fresh context."""
    documents = dict(enumerate(at_statements(N_DOCUMENTS, 900), start=1))
    for slot, (prefix, suffix) in documents.items():
        loaded.slots.switch(slot)
        assert loaded.complete(prefix, suffix, max_tokens=2).cost.n_prefill > 200
    visits: list[tuple[str, str, Done]] = []
    for n_typed in range(N_ROUNDS):
        for slot, (prefix, suffix) in documents.items():
            text = prefix + "self"[:n_typed]
            loaded.slots.switch(slot)
            visits.append((text, suffix, loaded.complete(text, suffix, max_tokens=12)))
    spent = [done.cost.n_prefill + done.cost.n_healed for _, _, done in visits]
    assert max(spent) <= 6, spent
    loaded.slots.switch(0)
    for text, suffix, warm in visits:
        cold = loaded.complete_cold(text, suffix, max_tokens=12)
        assert cold.text == warm.text or loaded.diverges_at_near_tie(text, suffix, cold, warm)


def test_a_restored_slot_answers_as_it_would_have_without_parking(loaded: RealEngine) -> None:
    """Checks that a restored copy has the same cells and the same logits."""
    prefix, suffix = next(positions(1, 900))
    loaded.slots.switch(11)
    loaded.complete(prefix, suffix)
    loaded.complete(prefix, suffix, max_tokens=1)
    expected, cells = loaded.context.logits().tolist(), list(loaded.engine.cache.cells)
    loaded.slots.switch(12)
    loaded.complete("x = ", "\n", max_tokens=1)
    loaded.slots.switch(11)
    assert loaded.engine.cache.cells[: len(cells)] == cells
    loaded.complete(prefix, suffix, max_tokens=1)
    assert loaded.context.logits().tolist() == expected


def test_a_state_that_is_dropped_is_freed_at_once(loaded: RealEngine) -> None:
    """Frees the memory at once, not at the next garbage collection: tens of megabytes."""
    loaded.complete("x = ", "\n", max_tokens=1)
    gc.disable()
    try:
        state = loaded.context.state()
        assert loaded.context.restore(state)
        is_there = weakref.ref(state)
        del state
        assert is_there() is None
    finally:
        gc.enable()


def test_a_prefill_only_leaves_the_next_request_a_few_tokens(loaded: RealEngine) -> None:
    prefix, suffix = next(positions(1, 900))
    loaded.engine.cache.clear()
    done = loaded.complete(prefix, suffix, is_prefill=True)
    assert (done.reason, done.text, done.cost.n_decoded) == ("tokens", "", 0)
    cost = loaded.complete(prefix, suffix).cost
    assert cost.n_prefill <= 4
    assert loaded.complete(prefix, suffix, max_tokens=0).cost.n_decoded == 0


# -- with a worker process


@asynccontextmanager
async def engine_service() -> AsyncIterator[EngineClient]:
    engine = EngineClient(Config(model=str(builtin_path())))
    living = asyncio.create_task(engine.run())
    try:
        await ready(engine)
        yield engine
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


def complete(
    engine: EngineClient,
    prefix: str,
    suffix: str,
    slot: int,
    *,
    background: bool = False,
    max_tokens: int = 4,
) -> EngineRequest:
    def pieces(model: Loaded) -> tuple[Piece, ...]:
        excerpt = Excerpt(prefix, suffix, "", "", "")
        return build_prompt(family_by_name(model.family), model.order, excerpt, "a.py", heal=True)

    rule = StopRule(max_tokens, 1, 0, "", LONG_MS)
    return engine.add_request(pieces, rule, GREEDY, slot=slot, background=background)


def cells_of(done: Done, slot: int) -> int:
    return next((view.n_cells for view in done.slots if view.id == slot), 0)


async def until_some_is_done(seconds: float, is_over: Callable[[], bool]) -> None:
    for _ in range(round(seconds / 0.01)):
        if is_over():
            return
        await asyncio.sleep(0.01)


async def test_any_request_preempts_the_background_within_a_batch() -> None:
    """Cancels for another document: finished batches are parked, the aborted batch is lost."""
    prefix, suffix = next(positions(1, 2400))
    async with engine_service() as engine:
        behind = complete(engine, prefix, suffix, 1, background=True, max_tokens=0)
        await until_some_is_done(0.3, behind.finished.done)
        first = complete(engine, "x = ", "\n", 2)
        late, done = await behind.finished, await first.finished
        assert (late.reason, done.cost.n_cached) == ("cancelled", 0)
        assert 0 <= late.cost.n_prefill - cells_of(late, 1) <= N_BATCH
        again = await complete(engine, prefix, suffix, 1).finished
        assert again.cost.n_cached == cells_of(late, 1)
        listed = engine.slots()
        assert [slot.id for slot in listed if slot.resident] == [1]
        engine.forget(1)
        assert 1 not in {slot.id for slot in engine.slots()}
        assert (await complete(engine, prefix, suffix, 1).finished).cost.n_cached == 0


async def test_a_request_reuses_the_background_prefill_of_its_document() -> None:
    prefix, suffix = next(positions(1, 2400))
    async with engine_service() as engine:
        behind = complete(engine, prefix, suffix, 1, background=True, max_tokens=0)
        await until_some_is_done(0.3, behind.finished.done)
        done = await complete(engine, prefix + "x", suffix, 1).finished
        late = behind.finished.result()
        assert late.cost.n_prefill == cells_of(late, 1), "the batch it was at was finished"
        assert done.cost.n_cached >= late.cost.n_prefill - 4


async def test_twenty_keys_in_a_cold_prefill_cost_little_more_than_one() -> None:
    """Each request replaces the one before, whose evaluated tokens stay in the cache."""
    prefix, suffix = next(positions(1, 2900))
    async with engine_service() as engine:
        whole = await complete(engine, prefix, suffix, 1).finished
        assert 900 <= whole.cost.n_prompt <= 1100
        engine.forget(1)
        requests: list[EngineRequest] = []
        for n_keys in range(len(KEYS)):
            for request in requests[-1:]:
                request.cancel(after_batch=True)
            requests.append(complete(engine, prefix + KEYS[:n_keys], suffix, 1))
            await until_some_is_done(0.08, requests[-1].finished.done)
        done = [await request.finished for request in requests]
        assert done[-1].reason != "cancelled"
        spent = sum(result.cost.n_prefill + result.cost.n_healed for result in done)
        assert spent <= whole.cost.n_prompt + 300, [result.cost.n_prefill for result in done]


async def test_what_was_replaced_before_the_worker_came_to_it_costs_nothing() -> None:
    prefix, suffix = next(positions(1, 900))
    async with engine_service() as engine:
        requests = [complete(engine, prefix + KEYS[:n_keys], suffix, 1) for n_keys in range(20)]
        for request in requests[:-1]:
            request.cancel(after_batch=True)
        done = [await request.finished for request in requests]
        assert [each.reason for each in done[:-1]] == ["cancelled"] * 19
        assert sum(each.cost.n_prefill for each in done[1:-1]) == 0
        assert done[-1].reason != "cancelled"


async def test_a_hard_cancel_leaves_an_idle_engine_at_once() -> None:
    """Counts batches instead of time: no batch may begin after the cancel."""
    prefix, suffix = next(positions(1, 2400))
    async with engine_service() as engine:
        request = complete(engine, prefix, suffix, 1)
        await until_some_is_done(0.2, request.finished.done)
        request.cancel()
        done = await request.finished
        assert done.cost.n_prefill - cells_of(done, 1) <= N_BATCH
